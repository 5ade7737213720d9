//! What is refused before anything is done, and what is done to its end.

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

#[tokio::test]
async fn an_act_goes_on_when_whoever_asked_has_hung_up() {
    let acts = Acts::default();
    let (go, gone) = oneshot::channel::<()>();
    let (tell, told) = oneshot::channel();
    let act = async move {
        let _ = gone.await;
        let _ = tell.send("done");
    };
    // The handler is dropped while the act is half-way.
    let hung_up = tokio::time::timeout(Duration::from_millis(20), acts.carry(act)).await;
    assert!(hung_up.is_err());
    go.send(()).expect("the act still waits");
    assert_eq!(told.await, Ok("done"));
    assert_eq!(acts.carry(async { 7 }).await, Some(7));
}

#[tokio::test]
async fn acts_under_way_are_bounded() {
    let acts = Acts::default();
    for _ in 0..MAX_ACTS {
        let never = acts.carry(std::future::pending::<()>());
        let soon = Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, never).await.is_err());
    }
    assert_eq!(acts.carry(async {}).await, None);
}

#[test]
fn what_is_in_force_counts_though_it_may_not_last() {
    assert!(ActError::NotDurable("it does not answer".to_owned()).is_in_force());
    assert!(ActError::NotCommitted.is_in_force());
    assert!(!ActError::NothingWaits.is_in_force());
    assert!(!ActError::NotHeld.is_in_force());
}
