//! What is not passed on, whoever sent it.

use std::rc::Rc;

use http::StatusCode;
use http::header::TRANSFER_ENCODING;

use super::forward::Answered;
use crate::connection::Direction;
use crate::http::body::Begun;
use crate::http::errors::Refusal;
use crate::http::headers::{self, BadResponse, Handshake, Upgrade};
use crate::http::limits::{self, Sender};
use crate::http::request_body::Progress;
use crate::http::upstream::SendError;
use crate::metrics::traffic::{Flags, RequestProtocol, Telemetry};

/// Counts a request that hyper has answered, as it cannot be read. Whoever serves the connection logs the error.
pub(super) fn count_unreadable(error: &hyper::Error, telemetry: &Rc<Telemetry>) {
    if !error.is_parse() {
        return;
    }
    let mut recording = telemetry.request(RequestProtocol::Http);
    recording.status(if error.is_parse_too_large() {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    } else {
        StatusCode::BAD_REQUEST
    });
    recording.flag(Flags::DownstreamProtocolError);
    recording.finish();
}

/// Refuses a response that no client could trust, also one whose body is wrong as far as it has come.
pub(super) async fn vet(
    answered: &mut Answered,
    upgrade: &Upgrade,
    handshake: &Handshake,
    progress: Option<&Progress>,
    direction: Direction,
) -> Result<(), Refusal> {
    let response = &mut answered.response;
    // What an application trusts is at stake. Servers elsewhere are their own affair, and some forward proxies say a length.
    if *upgrade == Upgrade::Tunnel && direction == Direction::Inbound {
        headers::check_tunnel(response.status(), response.headers())?;
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        upgrade.check_switch(response.headers(), handshake)?;
        if progress.is_some_and(|progress| !progress.has_ended()) {
            return Err(BadResponse::EarlySwitch.into());
        }
    }
    headers::check_response(response.headers())?;
    if response.version() == http::Version::HTTP_2 {
        limits::check(response.headers(), Sender::Proxy).map_err(Refusal::Response)?;
    } else if response.headers().contains_key(TRANSFER_ENCODING) {
        match Begun::take(response.body_mut()).await {
            Ok(begun) => answered.begun = begun,
            Err(error) => {
                if let Some(picked) = &answered.picked {
                    picked.reset();
                }
                return Err(SendError::Broken(error).into());
            }
        }
    }
    Ok(())
}
