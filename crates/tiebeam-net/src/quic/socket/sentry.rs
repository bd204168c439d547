//! Tells once what a socket is ready for, and is silent until it is armed again.
//!
//! Tokio has the system tell of each datagram that comes, and of each that leaves and makes room: under load a thread is woken
//! for every one of them, whether or not another thread is about to look. So between the two stands an epoll of the socket's
//! own, with `EPOLLONESHOT` (epoll(7)). Where there is no epoll, tokio is asked.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Readable,
    Writable,
    /// Something is in the socket's queue of errors.
    Failed,
}

#[cfg(target_os = "linux")]
pub(super) use linux::Sentry;

#[cfg(target_os = "linux")]
mod linux {
    #![expect(unsafe_code, reason = "tokio has it promised that the descriptor stays open")]

    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
    use tokio::io::unix::AsyncFd;

    use super::{Arc, Context, Poll, UdpSocket, What, io, ready};

    #[derive(Debug)]
    pub(in super::super) struct Sentry {
        epoll: AsyncFd<Own>,
        socket: Arc<UdpSocket>,
        what: EpollFlags,
    }

    #[derive(Debug)]
    struct Own(Epoll);

    impl AsRawFd for Own {
        fn as_raw_fd(&self) -> RawFd {
            self.0.0.as_raw_fd()
        }
    }

    impl AsFd for Own {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.0.as_fd()
        }
    }

    impl Sentry {
        /// Makes one that isn't armed; one for errors always is. Must be called within a tokio runtime.
        pub(in super::super) fn new(socket: &Arc<UdpSocket>, what: What) -> io::Result<Self> {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            let (what, at_first) = match what {
                What::Readable => (EpollFlags::EPOLLIN, EpollFlags::EPOLLONESHOT),
                What::Writable => (EpollFlags::EPOLLOUT, EpollFlags::EPOLLONESHOT),
                // An error stays until something is sent or received, and would be told again and again.
                What::Failed => (EpollFlags::EPOLLERR, EpollFlags::EPOLLET),
            };
            epoll.add(socket, EpollEvent::new(at_first, 0))?;
            // SAFETY: it has one descriptor, which stays open and the same until it is dropped.
            let epoll = unsafe { AsyncFd::register(Own(epoll)) }?;
            Ok(Self { epoll, socket: Arc::clone(socket), what })
        }

        /// Has it tell once. What is there already is told at once.
        pub(in super::super) fn arm(&self) {
            let mut event = EpollEvent::new(self.what | EpollFlags::EPOLLONESHOT, 0);
            if let Err(error) = self.epoll.get_ref().0.modify(&self.socket, &mut event) {
                tracing::error!(%error, "socket can't be watched");
            }
        }

        /// Waits until it tells. For one waiter.
        pub(in super::super) fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            loop {
                let mut guard = ready!(self.epoll.poll_read_ready(cx))?;
                let fired = guard.get_inner().0.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO)?;
                guard.clear_ready();
                if fired > 0 {
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::Sentry;

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::{Arc, Context, Poll, UdpSocket, What, io, ready};

    #[derive(Debug)]
    pub(in super::super) struct Sentry {
        socket: tokio::net::UdpSocket,
        what: What,
    }

    impl Sentry {
        pub(in super::super) fn new(socket: &Arc<UdpSocket>, what: What) -> io::Result<Self> {
            Ok(Self { socket: tokio::net::UdpSocket::from_std(socket.try_clone()?)?, what })
        }

        #[expect(clippy::unused_self, reason = "elsewhere it does something")]
        pub(in super::super) fn arm(&self) {}

        pub(in super::super) fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            match self.what {
                What::Readable => {
                    ready!(self.socket.poll_recv_ready(cx))?;
                    let _ = self.socket.try_io(tokio::io::Interest::READABLE, nothing);
                }
                What::Writable => {
                    ready!(self.socket.poll_send_ready(cx))?;
                    let _ = self.socket.try_io(tokio::io::Interest::WRITABLE, nothing);
                }
                What::Failed => return Poll::Pending,
            }
            Poll::Ready(Ok(()))
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use futures::poll;

    use super::*;

    async fn fired(sentry: &Sentry) {
        std::future::poll_fn(|cx| sentry.poll_fired(cx)).await.expect("epoll works");
    }

    /// Fails if it tells of each datagram, which is what it is there to prevent, or of none that was there before.
    #[tokio::test]
    async fn it_tells_once_each_time_it_is_armed() {
        let (sender, receiver) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        receiver.set_nonblocking(true).unwrap();
        let (to, receiver) = (receiver.local_addr().unwrap(), Arc::new(receiver));
        let sentry = Sentry::new(&receiver, What::Readable).unwrap();
        // Loopback delivers before `send_to` returns, so what is told would be told by now.
        sender.send_to(b"1", to).unwrap();
        tokio::task::yield_now().await;
        assert!(poll!(std::pin::pin!(fired(&sentry))).is_pending(), "it isn't armed");
        sentry.arm();
        fired(&sentry).await;
        sender.send_to(b"2", to).unwrap();
        tokio::task::yield_now().await;
        assert!(poll!(std::pin::pin!(fired(&sentry))).is_pending(), "it has told");
        for _ in 0..2 {
            receiver.recv(&mut [0; 1]).unwrap();
        }
        sentry.arm();
        tokio::task::yield_now().await;
        assert!(poll!(std::pin::pin!(fired(&sentry))).is_pending(), "nothing is there");
        sender.send_to(b"3", to).unwrap();
        fired(&sentry).await;
    }
}
