//! The kernel's queue of packets (`NFQUEUE`), spoken to by netlink.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{bind, recv, send, socket_with, sockopt};

/// The number of the queue; every node has a network, and so a queue, of its own.
pub(crate) const NUMBER: u16 = 0;
/// Packets that may wait: two seconds of a busy node.
const LENGTH_MAX: u32 = 16_384;
/// What the kernel may hold for this program.
const BUFFER_BYTES: usize = 8 << 20;
/// The largest message: a packet, and its attributes.
const MESSAGE_BYTES: usize = 70_000;

// linux/netfilter/nfnetlink_queue.h
const SUBSYSTEM: u16 = 3 << 8;
const MESSAGE_PACKET: u16 = SUBSYSTEM;
const MESSAGE_VERDICT: u16 = SUBSYSTEM | 1;
const MESSAGE_CONFIG: u16 = SUBSYSTEM | 2;
const MESSAGE_ERROR: u16 = 2;
const CONFIG_COMMAND: u16 = 1;
const CONFIG_PARAMETERS: u16 = 2;
const CONFIG_LENGTH_MAX: u16 = 3;
const COMMAND_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;
const PAYLOAD: u16 = 10;
const ACCEPT: u32 = 1;

const FLAG_REQUEST: u16 = 1;
const FLAG_ACKNOWLEDGE: u16 = 4;
const HEADER_BYTES: usize = 16;
const FAMILY_BYTES: usize = 4;

/// A queue that is ours until it is dropped.
#[derive(Debug)]
pub(super) struct Queue {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// A packet that the kernel asks about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) id: u32,
    pub(super) bytes: Vec<u8>,
}

impl Queue {
    /// Takes over the queue of this thread's network.
    pub(super) fn open() -> Result<Self> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(NETFILTER))?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)?;
        let mut queue = Self { socket, buffer: vec![0; MESSAGE_BYTES] };
        queue.configure(CONFIG_COMMAND, &[COMMAND_BIND, 0, 0, 0])?;
        let whole = [&0xffff_u32.to_be_bytes()[..], &[COPY_PACKET]].concat();
        queue.configure(CONFIG_PARAMETERS, &whole)?;
        queue.configure(CONFIG_LENGTH_MAX, &LENGTH_MAX.to_be_bytes())?;
        Ok(queue)
    }

    fn configure(&mut self, attribute: u16, value: &[u8]) -> Result<()> {
        let flags = FLAG_REQUEST | FLAG_ACKNOWLEDGE;
        let message = message(MESSAGE_CONFIG, flags, &[(attribute, value)]);
        send(&self.socket, &message, SendFlags::empty()).context("configure the queue")?;
        let (count, _) = recv(&self.socket, &mut self.buffer[..], RecvFlags::empty())?;
        match answer(&self.buffer[..count]) {
            Some(0) => Ok(()),
            Some(code) => bail!("the kernel refuses the queue: error {code}"),
            None => bail!("the kernel does not answer about the queue"),
        }
    }

    /// Waits so long for packets; gives those that are there.
    pub(super) fn wait(&mut self, most: Duration) -> Result<Vec<Packet>> {
        let timeout = most.try_into().context("a short wait")?;
        let ready = poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout));
        match ready {
            Ok(0) | Err(Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((count, _)) => Ok(packets(&self.buffer[..count])),
            // Some were lost on the way here: the kernel drops them, TCP sends them again.
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(Vec::new()),
            Err(error) => Err(error).context("take packets"),
        }
    }

    /// Lets a packet go on, with other bytes if there are any.
    pub(super) fn accept(&self, id: u32, changed: Option<&[u8]>) -> Result<()> {
        let verdict = [ACCEPT.to_be_bytes(), id.to_be_bytes()].concat();
        let mut attributes = vec![(VERDICT_HEADER, &verdict[..])];
        attributes.extend(changed.map(|bytes| (PAYLOAD, bytes)));
        let message = message(MESSAGE_VERDICT, FLAG_REQUEST, &attributes);
        send(&self.socket, &message, SendFlags::empty()).context("let a packet go on").map(drop)
    }
}

/// A message about the queue: headers in the machine's order of bytes, each part a multiple of four.
fn message(kind: u16, flags: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend(NUMBER.to_be_bytes());
    for (kind, value) in attributes {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        body.extend(length.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Number and sender: the kernel fills them in.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// The parts of a buffer, each with its kind; `length` reads how long a part is.
fn parts<'a>(
    mut bytes: &'a [u8],
    head: impl Fn(&[u8]) -> Option<(usize, u16)> + 'a,
    head_bytes: usize,
) -> impl Iterator<Item = (u16, &'a [u8])> + 'a {
    std::iter::from_fn(move || {
        let (length, kind) = head(bytes)?;
        let part = bytes.get(head_bytes..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, part))
    })
}

fn messages(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let head = |bytes: &[u8]| {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
        Some((usize::try_from(length).ok()?, u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?)))
    };
    parts(bytes, head, HEADER_BYTES)
}

fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let head = |bytes: &[u8]| {
        let length = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        // The upper bits say how the value is laid out.
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff;
        Some((usize::from(length), kind))
    };
    parts(bytes, head, 4)
}

/// The error of an answer; 0 is none.
fn answer(bytes: &[u8]) -> Option<i32> {
    let (_, body) = messages(bytes).find(|(kind, _)| *kind == MESSAGE_ERROR)?;
    Some(i32::from_ne_bytes(body.get(..4)?.try_into().ok()?))
}

fn packets(bytes: &[u8]) -> Vec<Packet> {
    messages(bytes)
        .filter(|(kind, _)| *kind == MESSAGE_PACKET)
        .filter_map(|(_, body)| packet(body.get(FAMILY_BYTES..)?))
        .collect()
}

fn packet(body: &[u8]) -> Option<Packet> {
    let of = |wanted: u16| attributes(body).find(|(kind, _)| *kind == wanted);
    let (_, header) = of(PACKET_HEADER)?;
    let id = u32::from_be_bytes(header.get(..4)?.try_into().ok()?);
    Some(Packet { id, bytes: of(PAYLOAD).map(|(_, bytes)| bytes.to_vec()).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_found_in_what_the_kernel_says() {
        let header = [&7_u32.to_be_bytes()[..], &[8, 0, 3]].concat();
        let one = message(MESSAGE_PACKET, 0, &[(PACKET_HEADER, &header), (PAYLOAD, b"bytes")]);
        let two = message(MESSAGE_PACKET, 0, &[(PACKET_HEADER, &header)]);
        let found = packets(&[one.clone(), two].concat());
        let packet = |bytes: &[u8]| Packet { id: 7, bytes: bytes.to_vec() };
        assert_eq!(found, [packet(b"bytes"), packet(b"")]);
        assert_eq!(packets(&one[..one.len() - 3]), [], "a part of a message is none");
        assert_eq!(packets(&message(MESSAGE_CONFIG, 0, &[])), []);
    }

    #[test]
    fn a_message_says_its_length_and_is_padded() {
        let message = message(MESSAGE_CONFIG, FLAG_REQUEST, &[(CONFIG_PARAMETERS, &[1; 5])]);
        assert_eq!(message.len(), HEADER_BYTES + FAMILY_BYTES + 4 + 8);
        assert_eq!(message[..4], 32_u32.to_ne_bytes());
        let (kind, body) = messages(&message).next().unwrap();
        assert_eq!(kind, MESSAGE_CONFIG);
        let found: Vec<_> = attributes(&body[FAMILY_BYTES..]).collect();
        assert_eq!(found, [(CONFIG_PARAMETERS, &[1; 5][..])]);
    }

    #[test]
    fn answers_carry_the_error() {
        let answered = |code: i32| {
            let mut bytes = vec![36, 0, 0, 0];
            bytes.extend(MESSAGE_ERROR.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(code.to_ne_bytes());
            bytes.extend([0; 16]);
            answer(&bytes)
        };
        assert_eq!((answered(0), answered(-16)), (Some(0), Some(-16)));
        assert_eq!(answer(&[]), None);
    }
}
