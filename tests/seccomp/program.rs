// What Rust's library needs of the kernel. Prints "ok" when all of it worked.
use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

fn threads() {
    let total = Arc::new(Mutex::new(HashMap::new()));
    let all: Vec<_> = (0..16)
        .map(|n| {
            let total = total.clone();
            thread::Builder::new().name(format!("worker-{n}")).spawn(move || total.lock().unwrap().insert(n, n)).unwrap()
        })
        .collect();
    all.into_iter().for_each(|one| drop(one.join().unwrap()));
    assert_eq!(total.lock().unwrap().len(), 16);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(7).unwrap());
    assert_eq!(receiver.recv_timeout(Duration::from_secs(5)), Ok(7));
    assert!(thread::available_parallelism().unwrap().get() > 0);
}

fn sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || std::io::copy(&mut listener.accept().unwrap().0, &mut std::io::sink()).unwrap());
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&[1; 100_000]).unwrap();
    drop(stream);
    assert_eq!(server.join().unwrap(), 100_000);
    let (mut one, mut two) = UnixStream::pair().unwrap();
    one.write_all(b"x").unwrap();
    two.read_exact(&mut [0]).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.send_to(b"y", udp.local_addr().unwrap()).unwrap();
}

fn programs() {
    assert_eq!(Command::new("sh").args(["-c", "echo 42"]).output().unwrap().stdout, b"42\n");
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).env("A", "b").spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"text").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"text");
    let mut sleeper = Command::new("sleep").arg("10").spawn().unwrap();
    sleeper.kill().unwrap();
    assert!(!sleeper.wait().unwrap().success());
}

fn files() {
    let folder = std::env::temp_dir().join(format!("rust-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a"), vec![0; 1 << 20]).unwrap();
    assert_eq!(fs::copy(folder.join("a"), folder.join("b")).unwrap(), 1 << 20);
    fs::OpenOptions::new().append(true).open(folder.join("b")).unwrap().sync_all().unwrap();
    fs::rename(folder.join("b"), folder.join("c")).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    fs::remove_dir_all(&folder).unwrap();
}

fn main() {
    let start = Instant::now();
    threads();
    sockets();
    programs();
    files();
    assert!(SystemTime::now() > SystemTime::UNIX_EPOCH && start.elapsed() > Duration::ZERO);
    println!("ok");
}
