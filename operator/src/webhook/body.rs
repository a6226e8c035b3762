//! The body of one request: within its limit, its time and the budget.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::header::CONTENT_LENGTH;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use super::budget::{Busy, Held};

const MIB: usize = 1024 * 1024;
/// Time for a body to arrive, beside what its bytes take at [`SPEED`], in bytes a second. API servers are much faster, but
/// on a node without processor time to spare either side may pause for seconds; the API server gives up after five. A body
/// that others wait for gives way earlier.
const BODY_TIME: Duration = Duration::from_secs(3);
const SPEED: usize = 4 * MIB;

/// A body that was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is above {0} bytes")]
    TooLarge(usize),
    #[error("the body arrives too slowly: it has {} s, and 1 s more for each {} MiB", BODY_TIME.as_secs(), SPEED / MIB)]
    Slow,
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error("the body cannot be read: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

impl BodyError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a body. What waits for room was not read from the connection.
pub(super) async fn read<B>(request: Request<B>, limit: usize, held: &Held) -> Result<Bytes, BodyError>
where
    B: Body<Data: Send> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|announced| announced > limit) {
        return Err(BodyError::TooLarge(limit));
    }
    // Bodies that grew side by side would each wait for the last of it, so what is announced is asked for at once.
    if let Some(announced) = announced {
        held.grow(announced).await?;
    }
    // Room that nothing was written to is no memory yet.
    let mut bytes = Vec::with_capacity(announced.unwrap_or_default());
    let body = Limited::new(request.into_body(), announced.unwrap_or(limit));
    let mut body = std::pin::pin!(body);
    let mut begun = Instant::now();
    loop {
        let next = timeout_at(begun + patience(bytes.len()), body.frame());
        match next.await.map_err(|_| BodyError::Slow)? {
            None => return Ok(bytes.into()),
            Some(Ok(frame)) => {
                let Ok(mut data) = frame.into_data() else { continue };
                if announced.is_none() {
                    // It is not slow for as long as it waits for us.
                    begun += held.grow(data.remaining()).await?;
                }
                while data.has_remaining() {
                    let length = data.chunk().len();
                    bytes.extend_from_slice(data.chunk());
                    data.advance(length);
                }
            }
            Some(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(BodyError::TooLarge(limit));
            }
            Some(Err(error)) => return Err(BodyError::Broken(error)),
        }
    }
}

/// How long a body may have taken of which so many bytes have arrived.
fn patience(arrived: usize) -> Duration {
    let millis = arrived.saturating_mul(1000) / SPEED;
    BODY_TIME + Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s40_a_body_has_three_seconds_and_one_more_for_each_4_mib_that_arrived() {
        let millis = |arrived| patience(arrived).as_millis();
        assert_eq!([0, 4 * MIB, 6 * MIB].map(millis), [3000, 4000, 4500]);
    }
}
