//! The answer of a backend, now or later.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

use super::StateError;

/// Resolves with a backend's answer. The command is on its way before this is polled, and is
/// carried out even when this is dropped. Resolves to [`StateError::Stopped`] when the backend
/// ends without an answer; it never hangs.
#[derive(Debug)]
#[must_use = "the outcome is known only when this is awaited"]
pub struct Reply<T>(Inner<T>);

/// Resolves when everything that the call wrote is durable.
pub type Flushed = Reply<()>;

#[derive(Debug)]
enum Inner<T> {
    /// `None` after it was given out.
    Now(Option<Result<T, StateError>>),
    Later(oneshot::Receiver<Result<T, StateError>>),
}

/// The backend's end of a [`Reply`]; dropping it means [`StateError::Stopped`].
pub(super) type Answer<T> = oneshot::Sender<Result<T, StateError>>;

impl<T> Reply<T> {
    pub(super) fn now(answer: Result<T, StateError>) -> Self {
        Self(Inner::Now(Some(answer)))
    }

    pub(super) fn later() -> (Answer<T>, Self) {
        let (answer, receiver) = oneshot::channel();
        (answer, Self(Inner::Later(receiver)))
    }
}

impl<T: Unpin> Future for Reply<T> {
    type Output = Result<T, StateError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match &mut self.0 {
            Inner::Now(answer) => answer.take().unwrap_or(Err(StateError::Stopped)),
            Inner::Later(receiver) => {
                ready!(Pin::new(receiver).poll(cx)).unwrap_or(Err(StateError::Stopped))
            }
        })
    }
}
