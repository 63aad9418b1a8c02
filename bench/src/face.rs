//! What is compared: the faces of panpipe, each with its rivals, its workloads and their bars.

/// One face of panpipe and what it is measured against.
pub(crate) struct Face {
    pub(crate) name: &'static str,
    pub(crate) rivals: &'static [Rival],
    /// `None` while panpipe does not have this face: then the rivals run alone.
    pub(crate) panpipe: Option<Program>,
    pub(crate) transports: &'static [&'static str],
    /// Options of each address.
    pub(crate) options: &'static str,
    pub(crate) workloads: &'static [Workload],
    /// Milliseconds that each workload runs before it counts: just-in-time compilers need them.
    pub(crate) warm_up: u32,
}

/// What panpipe is measured against.
pub(crate) struct Rival {
    pub(crate) name: &'static str,
    pub(crate) program: Program,
}

/// A contender: how its two ends are started, and what it does, for the reader of the report.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) server: ProgramKind,
    pub(crate) client: ProgramKind,
    pub(crate) about: &'static str,
}

#[derive(Clone, Copy)]
pub(crate) enum ProgramKind {
    /// A contender inside this program.
    Rust(&'static str),
    /// Files in `bench/contenders`.
    Python(&'static str),
    Node(&'static str),
    /// The same in `bench/rivals`, where the heavy ones are.
    RustRival(&'static str),
    PythonRival(&'static str),
    NodeRival(&'static str),
}

impl Program {
    /// A contender of which both ends are the same program.
    pub(crate) const fn of(kind: ProgramKind, about: &'static str) -> Self {
        Program { server: kind, client: kind, about }
    }
}

/// One thing that is measured, and what the ratio of panpipe to each rival must be.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// As the contenders read it: workload, size and count.
    pub(crate) task: &'static str,
    pub(crate) unit: &'static str,
    /// Milliseconds of each measurement.
    pub(crate) measured: u32,
    /// One for each rival of the face, in their order; `None` where the rival is only for the reader to compare.
    pub(crate) bars: &'static [Option<Bar>],
}

impl Workload {
    /// A contender's answer in the unit of the workload: microseconds, or operations per second.
    pub(crate) fn value(&self, answer: f64) -> f64 {
        let size = self.task.split(' ').nth(1).and_then(|size| size.parse::<f64>().ok()).unwrap_or_default();
        match self.unit {
            "MB/s" => answer * size / 1e6,
            "k/s" => answer / 1e3,
            _ => answer,
        }
    }
}

/// Milliseconds of most measurements.
pub(crate) const MEASURED: u32 = 40;

#[derive(Clone, Copy)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
    /// These two: the ratio, and also the value of panpipe, in the unit of the workload.
    AtMostAndWithin(f64, f64),
    AtLeastAndReaching(f64, f64),
    /// The difference, in the unit of the workload, and not the ratio.
    MoreByAtMost(f64),
}

impl Bar {
    pub(crate) fn is_met_by(self, rival: f64, panpipe: f64) -> bool {
        match self {
            Bar::AtMost(most) => panpipe / rival <= most,
            Bar::AtLeast(least) => panpipe / rival >= least,
            Bar::AtMostAndWithin(most, limit) => panpipe / rival <= most && panpipe <= limit,
            Bar::AtLeastAndReaching(least, goal) => panpipe / rival >= least && panpipe >= goal,
            Bar::MoreByAtMost(most) => panpipe - rival <= most,
        }
    }
}

/// `&[Some(Bar::AtMost(..)), ..]`, for workloads that are written many times.
macro_rules! bars {
    ($kind:ident $($bar:expr),+) => { &[$(Some($crate::face::Bar::$kind($bar))),+] };
}
pub(crate) use bars;

const fn small(bars: &'static [Option<Bar>]) -> Workload {
    Workload { name: "64 B round trip", task: "round-trip 64 1", unit: "µs", measured: MEASURED, bars }
}

const fn large(bars: &'static [Option<Bar>]) -> Workload {
    Workload { name: "64 KiB round trip", task: "round-trip 65536 1", unit: "µs", measured: MEASURED, bars }
}

const fn whole_datagram(bars: &'static [Option<Bar>]) -> Workload {
    Workload { name: "60 kB round trip", task: "round-trip 60000 1", unit: "µs", measured: MEASURED, bars }
}

const fn in_flight(bars: &'static [Option<Bar>]) -> Workload {
    Workload { name: "64 B, 64 in flight", task: "in-flight 64 64", unit: "k/s", measured: MEASURED, bars }
}

const fn stream(bars: &'static [Option<Bar>]) -> Workload {
    Workload { name: "64 KiB one way", task: "stream 65536 1", unit: "MB/s", measured: MEASURED, bars }
}

const fn bare(kind: ProgramKind, about: &'static str) -> Rival {
    Rival { name: "bare", program: Program::of(kind, about) }
}

/// The faces that send and receive messages, and the bars that each must meet.
pub(crate) const FACES: &[Face] = &[
    Face {
        name: "rust-blocking",
        rivals: &[bare(
            ProgramKind::Rust("bare-blocking"),
            "std UnixStream/TcpStream, one write a frame, reads through a 256 KiB buffer: \
                    2 system calls a round trip on each side",
        )],
        panpipe: Some(Program::of(
            ProgramKind::Rust("panpipe-blocking"),
            "panpipe::plain::blocking; the server is listen, accept and a recv/send loop",
        )),
        transports: &["unix", "tcp"],
        options: "protocol=plain",
        workloads: &[small(bars!(AtMost 1.15)), large(bars!(AtMost 1.15)), stream(bars!(AtLeast 0.9))],
        warm_up: 100,
    },
    Face {
        name: "rust-methods",
        rivals: &[bare(
            ProgramKind::Rust("bare-methods"),
            "the system calls of each method: send and recv of a packet, write of a frame and reads of a pipe \
                    through a 256 KiB buffer, one of each a message",
        )],
        panpipe: Some(Program::of(
            ProgramKind::Rust("panpipe-blocking"),
            "panpipe::plain::blocking; the server is listen, accept and a recv/send loop, or a child with that loop",
        )),
        transports: &["unix-seqpacket", "unix-dgram", "fifo", "child"],
        options: "protocol=plain",
        workloads: &[small(bars!(AtMost 1.2)), large(bars!(AtMost 1.2)), stream(bars!(AtLeast 0.9))],
        warm_up: 100,
    },
    Face {
        name: "rust-udp",
        rivals: &[bare(
            ProgramKind::Rust("bare-methods"),
            "send and recv on a connected UDP socket, recv_from and send_to in the server",
        )],
        panpipe: Some(Program::of(
            ProgramKind::Rust("panpipe-blocking"),
            "panpipe::plain::blocking; the server is listen, accept and a recv/send loop. \
                    One way would measure what the system drops, so it is not measured",
        )),
        transports: &["udp"],
        options: "protocol=plain",
        workloads: &[small(bars!(AtMost 1.2)), whole_datagram(bars!(AtMost 1.2))],
        warm_up: 100,
    },
    Face {
        name: "rust-tokio",
        rivals: &[bare(
            ProgramKind::Rust("bare-tokio"),
            "tokio streams on a current-thread runtime, one write_all a frame, reads through a 256 KiB buffer; \
                    in flight: all that a read brought is answered, or asked anew, in one write",
        )],
        panpipe: Some(Program::of(
            ProgramKind::Rust("panpipe-tokio"),
            "panpipe on a current-thread runtime: serve and call (one way: listen, recv and send); \
                    in flight: a window of 64 calls, the oldest awaited first",
        )),
        transports: &["unix", "tcp"],
        options: "protocol=plain",
        workloads: &[
            small(bars!(AtMost 1.10)),
            large(bars!(AtMost 1.10)),
            in_flight(bars!(AtLeast 0.7)),
            stream(bars!(AtLeast 0.9)),
        ],
        warm_up: 100,
    },
    Face {
        name: "python-blocking",
        rivals: &[bare(ProgramKind::Python("bare_socket.py"), "socket and struct: sendall(head + body), recv_exact")],
        panpipe: Some(Program::of(
            ProgramKind::Python("panpipe_blocking.py"),
            "panpipe.connect and panpipe.listen; the server is a recv/send loop",
        )),
        transports: &["unix", "tcp"],
        options: "protocol=plain",
        workloads: &[small(bars!(AtMost 1.05)), large(bars!(AtMost 1.05)), stream(bars!(AtLeast 0.9))],
        warm_up: 100,
    },
    Face {
        name: "python-methods",
        rivals: &[bare(
            ProgramKind::Python("bare_methods.py"),
            "socket for packets, os.read and os.write for pipes, subprocess for a child",
        )],
        panpipe: Some(Program::of(
            ProgramKind::Python("panpipe_blocking.py"),
            "panpipe.connect, spawn and listen; the server is a recv/send loop, or a child with that loop",
        )),
        transports: &["unix-seqpacket", "unix-dgram", "fifo", "child"],
        options: "protocol=plain",
        workloads: &[small(bars!(AtMost 1.2)), large(bars!(AtMost 1.2)), stream(bars!(AtLeast 0.9))],
        warm_up: 100,
    },
    Face {
        name: "python-udp",
        rivals: &[bare(
            ProgramKind::Python("bare_methods.py"),
            "send and recv on a connected UDP socket, recvfrom and sendto in the server",
        )],
        panpipe: Some(Program::of(
            ProgramKind::Python("panpipe_blocking.py"),
            "panpipe.connect and panpipe.listen; the server is a recv/send loop",
        )),
        transports: &["udp"],
        options: "protocol=plain",
        workloads: &[small(bars!(AtMost 1.2)), whole_datagram(bars!(AtMost 1.2))],
        warm_up: 100,
    },
    Face {
        name: "python-asyncio",
        rivals: &[bare(
            ProgramKind::Python("bare_asyncio.py"),
            "asyncio streams: readexactly, one write a message, drain in the server and one way; \
                    in flight: a task that reads resolves the futures of 64 that call",
        )],
        panpipe: Some(Program::of(
            ProgramKind::Python("panpipe_asyncio.py"),
            "panpipe.aio: serve and call (one way: listen, recv and send); in flight: 64 tasks that call",
        )),
        transports: &["unix", "tcp"],
        options: "protocol=plain",
        workloads: &[
            small(bars!(AtMost 0.6)),
            large(bars!(AtMost 0.6)),
            in_flight(bars!(AtLeast 4.0)),
            stream(bars!(AtLeast 0.9)),
        ],
        warm_up: 100,
    },
    Face {
        name: "node",
        rivals: &[bare(
            ProgramKind::Node("bare_net.mjs"),
            "net and a length prefix, one write a message; in flight: 64 promises, resolved in order",
        )],
        panpipe: Some(Program::of(
            ProgramKind::Node("panpipe.mjs"),
            "panpipe: serve and call (one way: listen, recv and send); in flight: 64 async functions that call",
        )),
        transports: &["unix", "tcp"],
        options: "protocol=plain",
        workloads: &[
            small(bars!(AtMost 1.1)),
            large(bars!(AtMost 1.1)),
            in_flight(bars!(AtLeast 2.5)),
            stream(bars!(AtLeast 0.9)),
        ],
        warm_up: 800,
    },
];
