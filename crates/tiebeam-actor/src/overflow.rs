/// What happens to a message for which the mailbox has no room. Signals and replies are never refused, whatever this says.
///
/// What was refused or dropped is counted, see [`ProcessInfo`](crate::ProcessInfo).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// The sender waits: [`Addr::cast`](crate::Addr::cast) until there is room, a call at most for its timeout.
    /// [`Addr::try_cast`](crate::Addr::try_cast), which doesn't wait, is refused.
    ///
    /// Senders on other nodes wait as well, if they name the actor by its pid, as soon as their node has heard of it. Until
    /// then as many messages again may wait as the mailbox holds; what comes beyond is refused, and a cast is gone.
    #[default]
    Block,
    /// It is refused: calls and `try_cast` hear [`CallError::Overloaded`](crate::CallError::Overloaded) at once, a cast is
    /// gone. For senders that must not be slowed down by a receiver.
    Fail,
    /// It is dropped, and whoever sent it is not told unless it is a call. For samples of which any will do.
    DropNewest,
    /// It takes the place of the message that waits for longest, which is dropped; if that was a call, its caller hears
    /// [`CallError::Overloaded`](crate::CallError::Overloaded). For states of which the last counts.
    ///
    /// The actor itself drops the oldest, when it next takes messages; until then as many again may wait, and beyond that
    /// the newest are dropped.
    DropOldest,
    /// The actor is killed. For those whose backlog is worthless, and whose supervisor starts them anew.
    Stop,
}
