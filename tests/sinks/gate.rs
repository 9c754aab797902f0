//! A gate between client and server, which can be shut, and cut connections in their middle.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

pub(crate) struct Gate {
    pub(crate) port: u16,
    open: Arc<AtomicBool>,
    /// Bytes from the server until the connection is cut; negative for never.
    left: Arc<AtomicI64>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    pub(crate) connections: Arc<AtomicI64>,
}

impl Gate {
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = Self {
            port: listener.local_addr().unwrap().port(),
            open: Arc::new(AtomicBool::new(true)),
            left: Arc::new(AtomicI64::new(-1)),
            streams: Arc::default(),
            connections: Arc::default(),
        };
        let (open, left) = (Arc::clone(&gate.open), Arc::clone(&gate.left));
        let (streams, connections) = (Arc::clone(&gate.streams), Arc::clone(&gate.connections));
        // The threads end with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", server));
                let (true, Ok(server)) = (open.load(Ordering::SeqCst), server) else {
                    continue;
                };
                connections.fetch_add(1, Ordering::SeqCst);
                let mut held = streams.lock().unwrap();
                held.clear();
                held.push(client.try_clone().unwrap());
                held.push(server.try_clone().unwrap());
                drop(held);
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass(from, to, None));
                let left = Arc::clone(&left);
                std::thread::spawn(move || pass(server, client, Some(left)));
            }
        });
        gate
    }

    /// Shuts the gate and cuts what is open.
    pub(crate) fn shut(&self) {
        self.open.store(false, Ordering::SeqCst);
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// Lets so many bytes more come from the server, then cuts the connection once.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.left.store(bytes as i64, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, left: Option<Arc<AtomicI64>>) {
    let mut bytes = [0; 4096];
    while let Ok(count) = from.read(&mut bytes) {
        if count == 0 {
            break;
        }
        let mut let_through = count;
        let mut cut = false;
        if let Some(left) = &left {
            let before = left.load(Ordering::SeqCst);
            if before >= 0 {
                cut = before <= count as i64;
                let_through = count.min(before as usize);
                left.store(
                    if cut { -1 } else { before - count as i64 },
                    Ordering::SeqCst,
                );
            }
        }
        if to.write_all(&bytes[..let_through]).is_err() || cut {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
