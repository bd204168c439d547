//! What the system hears of datagrams that reached a machine on which nobody listens (ICMP, ip(7) `IP_RECVERR`): the first
//! word of a process that was killed, long before its silence tells. On Linux; elsewhere there is silence alone.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::sentry::Sentry;

#[cfg(target_os = "linux")]
pub(super) fn enable(socket: &UdpSocket) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    match socket.local_addr()? {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4RecvErr, &true),
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvErr, &true),
    }
    .map_err(io::Error::from)
}

/// Returns the next address that refused. Cancel safe.
#[cfg(target_os = "linux")]
pub(super) async fn next(socket: &UdpSocket, failed: &Sentry) -> SocketAddr {
    loop {
        match take(socket) {
            Ok(Some(address)) => return address,
            Ok(None) => {}
            Err(_) if std::future::poll_fn(|cx| failed.poll_fired(cx)).await.is_ok() => {}
            Err(_) => return std::future::pending().await,
        }
    }
}

/// Takes one error off the socket's queue; returns the address if it is a refusal.
#[cfg(target_os = "linux")]
fn take(socket: &UdpSocket) -> io::Result<Option<SocketAddr>> {
    use std::os::fd::AsRawFd;

    use nix::errno::Errno;
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

    let (mut datagram, mut control) = ([0; 64], [0; 512]);
    let mut parts = [io::IoSliceMut::new(&mut datagram)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let is_refusal = message.cmsgs().is_ok_and(|mut messages| {
        messages.any(|message| match message {
            ControlMessageOwned::Ipv4RecvErr(error, _) => error.ee_errno == Errno::ECONNREFUSED as u32,
            ControlMessageOwned::Ipv6RecvErr(error, _) => error.ee_errno == Errno::ECONNREFUSED as u32,
            _ => false,
        })
    });
    let to = message.address.filter(|_| is_refusal);
    Ok(to.and_then(|to| {
        let v4 = to.as_sockaddr_in().map(|to| SocketAddr::from((to.ip(), to.port())));
        v4.or_else(|| to.as_sockaddr_in6().map(|to| SocketAddr::from((to.ip(), to.port()))))
    }))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn enable(_: &UdpSocket) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) async fn next(_: &UdpSocket, _: &Sentry) -> SocketAddr {
    std::future::pending().await
}
