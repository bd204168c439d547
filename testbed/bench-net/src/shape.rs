use clap::ValueEnum;

/// What is measured: a row of the table. Its name is fixed, so that figures can be followed over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Shape {
    /// A caller asks a server on the other node for its state, one call after the other.
    CallRtt,
    /// One sender casts 100 bytes each to one receiver on the other node, until that confirms all.
    #[value(name = "cast_100b")]
    Cast100b,
    /// The same with 64 KiB each.
    #[value(name = "cast_64kib")]
    Cast64kib,
    /// The first shape with 64 callers at once; wall time by calls.
    #[value(name = "callers_64")]
    Callers64,
    /// A pair pings while nothing else goes on.
    PingIdle,
    /// A pair pings while another pair floods the same way with 64 KiB each.
    PingInFlood,
    /// Memory of a connection over which nothing goes but what keeps it alive.
    ConnectionBytes,
    /// Memory of a monitor across nodes, both ends.
    MonitorBytes,
    /// Memory of a link across nodes, both ends.
    LinkBytes,
    /// From the kill of the other process until 100,000 monitors have fired.
    #[value(name = "monitors_100k")]
    Monitors100k,
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
            Self::Cast64kib => "MB/s",
            Self::ConnectionBytes | Self::MonitorBytes | Self::LinkBytes => "bytes",
            Self::Monitors100k => "ms",
            _ => "us",
        }
    }

    /// Says in which direction the figures get better.
    pub(crate) const fn better(self) -> &'static str {
        if matches!(self, Self::Cast64kib) { "higher" } else { "lower" }
    }

    /// Returns what a reader must know to compare the row's figures, if it is not the same for all rows.
    pub(crate) const fn condition(self) -> Option<&'static str> {
        match self {
            Self::Cast100b => Some(
                "ours: at most 8,000 messages unacknowledged, which is what the receiver's mailbox holds; \
                 beam: senders are suspended while 1 MiB waits",
            ),
            Self::Cast64kib => Some("ours: at most 160 messages unacknowledged, 10 MiB; beam as before"),
            Self::PingIdle => Some("p99 of 2,000"),
            Self::PingInFlood => Some(
                "p99 of 2,000, or of as many as were begun in 10 s, when the last counts with how long it has waited; the flood \
                 is that of cast_64kib",
            ),
            Self::ConnectionBytes => {
                Some("growth of resident memory of a node that is connected to one when 16 more join, by 16")
            }
            Self::MonitorBytes | Self::LinkBytes => {
                Some("growth of resident memory of both processes; 100 watchers times 1,000 watched")
            }
            Self::Monitors100k => Some(
                "SIGKILL; ours notices by the idle timeout of 3 s, beam by the closed socket; 100 watchers times 1,000",
            ),
            _ => None,
        }
    }

    /// Returns how many calls, messages, pings, connections, monitors or links are measured.
    pub(crate) const fn count(self, scale: Scale) -> u64 {
        let full = match self {
            Self::CallRtt => 20_000,
            Self::Cast100b => 400_000,
            Self::Cast64kib => 10_000,
            Self::Callers64 => 64_000,
            Self::PingIdle | Self::PingInFlood => 2_000,
            Self::MonitorBytes | Self::LinkBytes | Self::Monitors100k => 100_000,
            Self::ConnectionBytes => return CONNECTIONS,
        };
        match scale {
            Scale::Full => full,
            Scale::Quick => full / 10,
        }
    }

    /// Returns how much of the work is done before the measurement, to open windows and to wake the workers. What is
    /// measured as a whole, from nothing, has no such run.
    pub(crate) const fn warm_up(self, count: u64) -> Option<u64> {
        match self {
            Self::CallRtt | Self::Cast100b | Self::Cast64kib | Self::Callers64 | Self::PingIdle => Some(count / 10),
            _ => None,
        }
    }

    /// Returns the body's size in bytes.
    pub(crate) const fn body_bytes(self) -> usize {
        if matches!(self, Self::Cast100b) { 100 } else { 64 * 1024 }
    }
}

/// Callers of [`Shape::Callers64`].
pub(crate) const CALLERS: u64 = 64;
/// How many processes each watcher watches.
pub(crate) const WATCHED: u64 = 1_000;
/// How long a flood lasts before the first ping.
pub(crate) const FLOOD_LEAD_MS: u64 = 500;
/// How long pings may take altogether: in a flood that starves them the first ones must do.
pub(crate) const PINGS_MS: u64 = 10_000;
/// Few enough that the nodes, which all connect to each other, fit a small machine.
const CONNECTIONS: u64 = 16;
