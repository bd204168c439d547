use clap::ValueEnum;

/// What is measured: a row of the table. Its name is fixed, so that figures can be followed over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Shape {
    /// A caller asks a server for its state, one call after the other.
    CallRtt,
    /// One sender counts a server up, until the server says that it counted all.
    #[value(name = "cast_1to1")]
    Cast1to1,
    /// The same with eight senders.
    #[value(name = "cast_8to1")]
    Cast8to1,
    /// A hundred senders, each with a receiver of its own.
    #[value(name = "pairs_100")]
    Pairs100,
    /// Start an actor that sends one message back and ends; wait for the message; again.
    SpawnStop,
    /// One token on its way through a ring of 1,000 actors; per hop.
    #[value(name = "ring_1000")]
    Ring1000,
    /// A tree of actors, ten children each, with 1,000,000 leaves whose numbers are summed up on the way back.
    #[value(name = "skynet_1m")]
    Skynet1m,
    /// Memory of an actor that waits for messages, with a u64 of state.
    IdleBytes,
    /// From the kill of a supervised actor until another one has its name.
    Restart,
    /// How unsteady a ticker of 1 ms is while 1,000 actors flood each other.
    #[value(name = "ticker_p99")]
    TickerP99,
}

/// How much work a measurement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As much as figures that count are taken from.
    Full,
    /// A tenth.
    Quick,
}

impl Shape {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().expect("no shape is hidden").get_name().to_owned()
    }

    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::Skynet1m => "ms",
            Self::IdleBytes => "bytes",
            Self::TickerP99 => "us",
            _ => "ns",
        }
    }

    /// Returns what a reader must know to compare the row's figures, if it is not the same for all rows.
    pub(crate) const fn condition(self) -> Option<&'static str> {
        match self {
            Self::CallRtt => Some("ours and beam with the default timeout of 5 s, the others without one"),
            Self::SpawnStop => Some("ours and ractor also wait for the start, beam, tokio and kameo do not"),
            Self::IdleBytes => Some(
                "resident memory less what the caller keeps to reach them, 1,000,000 actors, of ractor and kameo 100,000; \
                 beam: 100,000 gen_servers by erlang:memory(processes)",
            ),
            Self::Restart => Some("the killer polls the name; ours yields between polls, as beam does by itself"),
            Self::TickerP99 => Some(
                "lateness beside the steadiest schedule of 1 ms that fits, ticks slept through included; 1,000 actors \
                 with 10,000 messages under way",
            ),
            _ => None,
        }
    }

    /// Returns how many calls, messages, hops, starts, leaves, actors, restarts or ticks are measured.
    pub(crate) const fn count(self, scale: Scale) -> u64 {
        let full = match self {
            Self::CallRtt | Self::SpawnStop => 300_000,
            Self::Cast1to1 | Self::Cast8to1 | Self::Ring1000 | Self::Skynet1m | Self::IdleBytes => 1_000_000,
            Self::Pairs100 => 2_000_000,
            Self::Restart => 2_000,
            Self::TickerP99 => 3_000,
        };
        match scale {
            Scale::Full => full,
            Scale::Quick => full / 10,
        }
    }

    /// Returns how much of the work is done before the measurement, to fault memory in and to wake the workers. What is
    /// measured as a whole, from nothing, has no such run.
    pub(crate) const fn warm_up(self, count: u64) -> Option<u64> {
        match self {
            Self::Skynet1m | Self::IdleBytes | Self::TickerP99 => None,
            _ => Some(count / 10),
        }
    }

    /// Returns how many send at once.
    pub(crate) const fn senders(self) -> u64 {
        match self {
            Self::Cast8to1 => 8,
            Self::Pairs100 => 100,
            _ => 1,
        }
    }
}

/// Members of the ring beside the one that holds the watch.
pub(crate) const RING: u64 = 1_000;
/// Actors that flood each other beside the ticker.
pub(crate) const FLOODERS: u64 = 1_000;
/// Messages that are under way all the time for each of them.
pub(crate) const FLOOD_MESSAGES: u64 = 10;

/// Returns the seed of the next message of a flood (Lehmer, "minimal standard"); small enough that no peer needs big
/// integers for it.
pub(crate) const fn next_seed(seed: u64) -> u64 {
    seed * 16_807 % 2_147_483_647
}
