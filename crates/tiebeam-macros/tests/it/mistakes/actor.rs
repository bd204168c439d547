struct Counter {
    n: u64,
}

#[tiebeam_macros::actor]
impl Counter {
    #[call]
    fn add(&mut self, by: u64) -> u64 {
        self.n += by;
        self.n
    }
}

struct Greeter;

#[tiebeam_macros::actor]
impl Greeter {
    fn init() -> Self {
        Self
    }

    #[call]
    #[cast]
    fn greet(&self) {}

    #[call(retries = 3)]
    fn again(&self) {}

    #[cast]
    fn note(&self, _text: &str) {}

    #[call(tag = 7)]
    fn first(&self) {}

    #[call(tag = 7)]
    fn second(&self) {}
}

fn main() {
    // The block is there in spite of its mistakes.
    Counter { n: 1 }.add(1);
}
