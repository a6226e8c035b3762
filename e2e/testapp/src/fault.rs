//! A fault that a server injects into its answers, in the terms of Envoy's fault filter: abort and delay.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a server does to every request but those to its own verbs and probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Answers 500, or UNAVAILABLE to gRPC, at once.
    Abort,
    /// Never answers.
    Hang,
    /// Answers so many milliseconds later.
    Delay(u64),
}

/// Since when a server injects its fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    /// Milliseconds since the epoch.
    pub since_ms: u64,
}

/// Not a fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault {0:?} is not one of none, abort, hang, delay:MILLISECONDS")]
pub struct UnknownFault(String);

impl Fault {
    /// How long an answer is held back.
    pub fn delay(self) -> Duration {
        match self {
            Self::Delay(millis) => Duration::from_millis(millis),
            Self::None | Self::Abort | Self::Hang => Duration::ZERO,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Abort => f.write_str("abort"),
            Self::Hang => f.write_str("hang"),
            Self::Delay(millis) => write!(f, "delay:{millis}"),
        }
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.to_owned());
        match text.split_once(':') {
            Some(("delay", millis)) => millis.parse().map(Self::Delay).map_err(|_| unknown()),
            None if text == "none" => Ok(Self::None),
            None if text == "abort" => Ok(Self::Abort),
            None if text == "hang" => Ok(Self::Hang),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written() {
        for fault in [Fault::None, Fault::Abort, Fault::Hang, Fault::Delay(200)] {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        for text in ["", "delay", "delay:", "delay:x", "abort:1"] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }
}
