use super::*;

const MANNER: ChildOptions = ChildOptions {
    live: false,
    ends: true,
    fails_for_good: false,
    timeout: None,
};

fn open(command: &str, options: ChildOptions) -> ChildSource {
    ChildSource::open(
        "pipe",
        &CommandLine::shell(command),
        Splitter::Unknown,
        &SourceSettings::default(),
        options,
    )
    .unwrap()
}

/// Everything up to the end: how many frames, and the end.
fn drain(source: &mut ChildSource) -> (u64, Result<Arrival, SourceError>) {
    let mut frame = Frame::blank("pipe");
    let mut frames = 0;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(30) {
        match source.read(&mut frame) {
            Ok(Arrival::Frame) => frames += 1,
            Ok(Arrival::Nothing) => {}
            end => return (frames, end),
        }
    }
    panic!("no end within 30 s");
}

#[test]
fn a_child_gives_its_frames_and_ends() {
    let mut source = open("printf 'P5 2 1 255\\nabP5 2 1 255\\ncd'", MANNER);
    let (frames, end) = drain(&mut source);
    assert_eq!((frames, end.unwrap()), (2, Arrival::End));
    let camera = ChildOptions {
        ends: false,
        ..MANNER
    };
    let (frames, end) = drain(&mut open("printf 'P5 2 1 255\\nab'", camera));
    assert_eq!(
        (frames, end.unwrap_err().to_string().as_str()),
        (1, "pipe: sh ended")
    );
}

#[test]
fn a_failure_tells_the_child_s_last_words() {
    let command = "seq 1 100000 >&2; echo 'no such camera' >&2; exit 3";
    let (_, end) = drain(&mut open(command, MANNER));
    let error = end.unwrap_err();
    assert!(!error.is_permanent());
    assert_eq!(
        error.to_string(),
        "pipe: sh ended with exit status: 3: 99998; 99999; 100000; no such camera"
    );
    let file = ChildOptions {
        fails_for_good: true,
        ..MANNER
    };
    assert!(
        drain(&mut open("exit 1", file))
            .1
            .unwrap_err()
            .is_permanent()
    );
    let (_, end) = drain(&mut open("printf 'P5 1 1 255\\na'; exit 1", file));
    assert!(!end.unwrap_err().is_permanent());
}

#[test]
fn silence_is_noticed() {
    let options = ChildOptions {
        timeout: Some(Duration::from_millis(300)),
        ..MANNER
    };
    let (_, end) = drain(&mut open("exec sleep 60", options));
    assert_eq!(end.unwrap_err().to_string(), "pipe: no frame for 300ms");
}

#[test]
fn the_whole_group_is_gone_with_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let ids = folder.path().join("ids");
    // One that does not listen, and one that the shell started.
    let command = format!(
        "trap '' INT; sleep 60 & echo $! $$ > '{0}.new'; mv '{0}.new' '{0}'; printf 'P5 1 1 \
         255\\na'; wait; sleep 60",
        ids.display()
    );
    let mut source = open(&command, MANNER);
    let mut frame = Frame::blank("pipe");
    while source.read(&mut frame).unwrap() != Arrival::Frame {}
    let ids = std::fs::read_to_string(ids).unwrap();
    drop(source);
    for id in ids.split_whitespace() {
        let started = Instant::now();
        // The shell's child is reaped by init, which takes its time.
        while is_running(id) {
            assert!(started.elapsed() < Duration::from_secs(10), "{id} runs on");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn is_running(id: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
