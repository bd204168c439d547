//! Every limit of a workflow partition, with what happens at its edge.

/// Partitions of all workflows of a cluster, each a replicated log. Fixed for the life of a cluster: instances would
/// be looked for in the wrong partition otherwise.
pub const PARTITIONS: u32 = 16;

/// Longest instance id, in bytes. Edge: the start is refused.
pub const ID_BYTES_MAX: usize = 256;

/// Longest name of a definition or a step, in bytes. Edge: the start is refused; the instance is stuck.
pub const NAME_BYTES_MAX: usize = 128;

/// Largest input of an instance, in bytes. Edge: the start is refused.
pub const INPUT_BYTES_MAX: usize = 256 * 1024;

/// Largest result and largest arguments of a step, in bytes, encoded. Edge: the instance is stuck.
pub const STEP_BYTES_MAX: usize = 256 * 1024;

/// Largest result of an instance, in bytes; kept after its journal is gone. Edge: the instance is stuck.
pub const RESULT_BYTES_MAX: usize = 16 * 1024;

/// Longest error or reason that is recorded, in bytes. Edge: cut at a character.
pub const ERROR_BYTES_MAX: usize = 1024;

/// Largest journal of one instance, in bytes. Edge: the instance is stuck.
pub const JOURNAL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most instances of a partition that have not finished, stuck ones included. Edge: starts are refused.
pub const UNFINISHED_MAX: usize = 100_000;

/// Most finished instances that a partition remembers. Edge: the one that finished first is forgotten, and a start
/// with its id begins anew.
pub const FINISHED_MAX: usize = 250_000;

/// Most commands in one batch. Edge: the batch is refused.
pub const BATCH_COMMANDS_MAX: usize = 1_024;

/// Bytes of commands after which a batch is closed. One larger command makes a batch of its own.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Most instances or events in one page of an answer. Edge: the page is shorter than asked for.
pub const PAGE_MAX: u32 = 1_000;

/// Bytes of events after which a page of a journal is closed.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Cuts `text` to [`ERROR_BYTES_MAX`].
pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
    text
}
