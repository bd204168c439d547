//! Protocols: hold an address without knowing whose it is.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tiebeam::{AddrOf, BoxCall, BoxCast, CallError, Incarnation, NodeId, System};

/// What is said of the weather, by whomever.
#[tiebeam::protocol]
trait Weather {
    /// Says how warm it is, in degrees.
    #[call]
    fn temperature(&self, city: String) -> i32;

    /// Corrects what is known.
    #[cast]
    fn report(&self, city: String, temperature: i32);
}

/// Knows that there is weather, and not where it comes from.
struct Wardrobe {
    weather: AddrOf<dyn Weather>,
}

#[tiebeam::actor]
impl Wardrobe {
    fn init(weather: AddrOf<dyn Weather>) -> Self {
        Self { weather }
    }

    #[call]
    async fn coat(&self, city: String) -> Result<bool, CallError> {
        // A call through a protocol has the same errors, and the same timeout, as any other.
        Ok(self.weather.temperature(city).timeout(Duration::from_secs(1)).await? < 15)
    }
}

/// Serves the protocol. It has messages of its own too, and may serve others.
#[derive(Default)]
struct Station {
    reports: Vec<(String, i32)>,
}

#[tiebeam::actor]
impl Station {
    fn init() -> Self {
        Self::default()
    }

    #[call]
    fn reports(&self) -> usize {
        self.reports.len()
    }
}

#[tiebeam::protocol]
impl Weather for Station {
    #[call]
    fn temperature(&self, city: String) -> i32 {
        self.reports.iter().rfind(|(of, _)| *of == city).map_or(20, |(_, temperature)| *temperature)
    }

    #[cast]
    fn report(&mut self, city: String, temperature: i32) {
        self.reports.push((city, temperature));
    }
}

/// Stands in for a station in a test: no actor, only answers.
struct Always(i32);

impl Weather for Always {
    fn temperature(&self, _city: String) -> BoxCall<i32> {
        BoxCall::ready(Ok(self.0))
    }

    fn report(&self, city: String, temperature: i32) -> BoxCast<'_> {
        println!("nobody will know that {city} has {temperature} degrees");
        Box::pin(std::future::ready(()))
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::new(NodeId(1), Incarnation(1));

    // An address of whoever serves the protocol becomes one of the protocol.
    let station = system.spawn::<Station>(()).await?;
    let weather = AddrOf::<dyn Weather>::from(station.clone());
    let wardrobe = system.spawn::<Wardrobe>(weather.clone()).await?;
    println!("a coat in Stockholm: {}", wardrobe.coat("Stockholm".into()).await??);
    weather.report("Stockholm".into(), -3).await;
    println!("reports: {}", station.reports().await?);
    println!("a coat in Stockholm now: {}", wardrobe.coat("Stockholm".into()).await??);

    // A stand-in is as good.
    let always = AddrOf::<dyn Weather>::new(Arc::new(Always(30)));
    always.report("Nuuk".into(), -20).await;
    let wardrobe = system.spawn::<Wardrobe>(always).await?;
    println!("a coat in Nuuk, says the stand-in: {}", wardrobe.coat("Nuuk".into()).await??);

    // The pid is there for links and monitors, if there is an actor behind.
    println!("station is {:?}, the same: {}", weather.pid(), weather.pid() == Some(station.pid()));
    Ok(())
}
