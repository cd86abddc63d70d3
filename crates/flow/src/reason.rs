//! Why a flow was reset, refused, or a session ended: enumerated once, unchanged from the wire to the
//! incident and the page.

use std::fmt;

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            /// A code this version does not know.
            Other(u8),
        }

        impl $name {
            /// The code on the wire.
            pub const fn code(self) -> u8 {
                match self {
                    $($name::$variant => $code,)*
                    $name::Other(code) => code,
                }
            }

            /// The reason with this code.
            pub const fn from_code(code: u8) -> $name {
                match code {
                    $($code => $name::$variant,)*
                    other => $name::Other(other),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $($name::$variant => f.write_str($text),)*
                    $name::Other(code) => write!(f, "reason {code}, unknown to this version"),
                }
            }
        }
    };
}

reasons! {
    /// Why a flow ended before both directions were complete, or never began.
    FlowReason {
        /// The local program reset its connection.
        ResetByPeer = 0, "the connection was reset at the other end";
        /// The destination refused the connection.
        Refused = 1, "the destination refused the connection";
        /// The destination could not be reached.
        Unreachable = 2, "the destination cannot be reached";
        /// The destination did not answer in time.
        TimedOut = 3, "the destination did not answer in time";
        /// The server's policy forbids the destination.
        Forbidden = 4, "the server's policy forbids this destination";
        /// The server lacks the destination's address family.
        NoFamily = 5, "the server has no address of this family";
        /// No service of that name.
        NoService = 6, "the server offers no such service";
        /// The session has as many flows as it permits.
        TooMany = 7, "the session has as many flows as it permits";
        /// The session under the flow ended.
        SessionEnded = 8, "the session ended";
        /// No path was left for too long.
        NoPath = 9, "no link was left for too long";
        /// An acknowledgement of data never sent.
        AckOfUnsent = 10, "acknowledgement of data that was never sent";
        /// Data beyond the granted window.
        WindowOverrun = 11, "data beyond the granted window";
        /// Data beyond the announced end, or an end before data.
        BadEnd = 12, "data beyond the announced end of the flow";
        /// The worker is shutting down.
        ShuttingDown = 13, "the worker is shutting down";
        /// Data in crumbs that cost more memory than they carry.
        Crumbs = 14, "data in too many tiny records";
        /// Data that differs from what arrived of the same bytes before.
        Conflict = 15, "data that contradicts what arrived before";
    }
}

reasons! {
    /// Why a whole session ended.
    SessionReason {
        /// The worker drains and stops.
        Drain = 0, "the other end is shutting down";
        /// A newer instance with the same key took over.
        Superseded = 1, "another router with the same key took over";
        /// The key was withdrawn.
        KeyWithdrawn = 2, "this router's key was withdrawn";
        /// A record that cannot be parsed.
        Malformed = 3, "a malformed record";
        /// A record that must be understood and is not.
        UnknownRecord = 4, "a record that must be understood is unknown";
        /// A record that this side never gets.
        WrongSide = 5, "a record that this side must not get";
        /// Control numbers too far ahead.
        ControlOverrun = 6, "control records too far ahead of the acknowledged ones";
        /// An acknowledgement of a control record never sent.
        ControlAckOfUnsent = 7, "acknowledgement of a control record that was never sent";
        /// Flow ids too far ahead.
        FlowIdOverrun = 8, "flow ids too far ahead of the opened ones";
        /// Without any path for too long.
        NoPath = 9, "no link was left for too long";
        /// The other end was started anew, and what it held is gone.
        Restarted = 10, "the other end was restarted";
        /// Control records are never acknowledged.
        ControlUnacked = 11, "control records that the other end never acknowledges";
        /// Records that carry little, faster than any use of the protocol needs.
        Flood = 12, "a flood of records that carry little";
    }
}
