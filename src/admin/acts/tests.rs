//! What is refused before anything is done.

use axum::body::Body;

use super::*;

/// A body of which the first bytes come, and nothing more.
struct Stalled(Option<Bytes>);

impl hyper::body::Body for Stalled {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        match self.0.take() {
            Some(first) => std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(first)))),
            None => std::task::Poll::Pending,
        }
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_not_waited_for() {
    let stalled = Stalled(Some(Bytes::from_static(b"{")));
    let soon = Duration::from_millis(50);
    let refused = body_of(Request::new(Body::new(stalled)), soon).await.err();
    assert_eq!(
        refused.map(|Refused(status, _)| status),
        Some(StatusCode::REQUEST_TIMEOUT)
    );
    let whole = body_of(Request::new(Body::from("{}")), BODY).await.ok();
    assert_eq!(whole.as_deref(), Some(&b"{}"[..]));
}
