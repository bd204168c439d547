#[tiebeam_macros::protocol]
trait Ledger {
    #[call]
    fn balance(&mut self, account: u64) -> u64;

    fn close(&self);
}

fn main() {}
