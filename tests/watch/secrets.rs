//! A word that stands in every place of a configuration that takes a secret is looked for in all
//! that the program says and writes.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use edge_vae::trust::{SigningKey, generate_identity};

use crate::{authority::quoted, free_port, test_dir::TestDir, until};

/// Long enough for a path of a web address to be shown without it.
const MARKER: &str = "Zq7MarkerPassword4711";

/// Where the test put it: these files are secrets themselves.
const SECRETS: &str = "secrets";

/// A server that answers every request with `answer`, and notes nothing.
fn answering(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The thread ends with the test's process.
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    port
}

fn page(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}

/// A folder with every kind of secret, and a configuration that names them all.
fn every_place(dir: &TestDir) -> (String, u16) {
    fs::create_dir(dir.path(SECRETS)).unwrap();
    let secret = |name: &str, text: &str| -> String {
        let path = dir.path(SECRETS).join(name);
        fs::write(&path, text).unwrap();
        quoted(&path)
    };
    let word = secret("word", &format!("{MARKER}\n"));
    let key = SigningKey::generate();
    let [evidence_key, _] = key.write(&dir.path(SECRETS).join("evidence")).unwrap();
    let evidence_key = quoted(&evidence_key);
    let refused = answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let elsewhere = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://u:{MARKER}@127.0.0.1/x?token={MARKER}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let elsewhere = answering(elsewhere.leak());
    let absent = free_port();
    let metrics = free_port();
    let camera = dir.camera();
    let configuration = format!(
        "[health]\nfrozen-after = 0\n[trust]\nidentity = {word}\n\
         [[source]]\nuri = \"{camera}; : rtsp://me:{MARKER}@127.0.0.1/x\"\nname = 'cam'\n\
         [[source]]\nuri = 'rtsp://me:{MARKER}@127.0.0.1:{absent}/live'\n\
         [[source]]\nuri = 'http://me:{MARKER}@127.0.0.1:{refused}/snap?pwd={MARKER}'\n\
         [[source]]\nuri = 'srt://127.0.0.1:{absent}?passphrase={MARKER}'\n\
         [[mqtt]]\nurl = 'mqtt://me:{MARKER}@127.0.0.1:{absent}/a'\n\
         [[mqtt]]\nurl = 'mqtt://me@127.0.0.1:{absent}/b'\npassword-file = {word}\n\
         protocol = '5'\n\
         [[mqtt]]\nurl = 'mqtt://me@127.0.0.1:{absent}/c'\npassword-env = 'THE_PASSWORD'\n\
         [[webhook]]\nurl = 'http://me:{MARKER}@127.0.0.1:{refused}/{MARKER}?key={MARKER}'\n\
         headers = {{ X-Api-Key = '{MARKER}' }}\n\
         [[webhook]]\nurl = 'http://127.0.0.1:{elsewhere}/2'\ntoken-file = {word}\n\
         [[webhook]]\nurl = 'http://127.0.0.1:{absent}/3'\ntoken-env = 'THE_PASSWORD'\n\
         [[log]]\npath = 'events.jsonl'\nframes = true\n\
         [[pictures]]\nfolder = 'pictures'\n\
         [[evidence]]\npath = 'evidence.jsonl'\nkey = {evidence_key}\n\
         [[prometheus]]\naddress = '127.0.0.1:{metrics}'\n\
         [control]\npath = 'ctl.sock'\n"
    );
    (configuration, metrics)
}

/// What the words of private keys begin with, in lines of their files.
fn key_lines(dir: &TestDir) -> Vec<String> {
    let pem = fs::read_to_string(dir.path(SECRETS).join("evidence.key")).unwrap();
    let inner = pem.lines().filter(|line| !line.starts_with("-----"));
    inner.map(str::to_owned).collect()
}

#[track_caller]
fn is_clean(what: &str, bytes: &[u8], secrets: &[String]) {
    let text = String::from_utf8_lossy(bytes);
    for secret in secrets {
        let at = text.find(secret.as_str());
        assert!(
            at.is_none(),
            "{what} has {secret}: {}",
            text.chars().take(2000).collect::<String>()
        );
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() && !path.ends_with(SECRETS) => files_below(&path, found),
            kind if kind.is_file() && !path.ends_with("edge-vae.toml") => found.push(path),
            _ => {}
        }
    }
}

#[test]
fn no_secret_is_said_or_written_anywhere() {
    let dir = TestDir::new();
    let (configuration, metrics) = every_place(&dir);
    fs::write(dir.path("edge-vae.toml"), configuration).unwrap();
    let mut secrets = key_lines(&dir);
    secrets.push(MARKER.to_owned());
    // As in `Basic`: `me:` is three bytes, so that the word begins a group of letters.
    secrets.push(BASE64_STANDARD.encode(MARKER));
    let with_secret = |mut command: Command| {
        command.env("THE_PASSWORD", MARKER);
        command
    };

    for arguments in [&["--check"][..], &["--print-pipeline"]] {
        let output = with_secret(dir.watch(arguments)).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&text)
        );
        is_clean(&arguments.join(" "), &text, &secrets);
    }
    for json in [&[][..], &["--json"]] {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_edge-vae"));
        doctor
            .args(["doctor", "--config", "edge-vae.toml"])
            .args(json)
            .current_dir(dir.path("."))
            .env("XDG_STATE_HOME", dir.path("state"))
            .env("EDGE_VAE_MODEL", dir.path("model"));
        let output = with_secret(doctor).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8_lossy(&text).contains("webhook http://127.0.0.1"));
        is_clean("doctor", &text, &secrets);
    }

    // Into files, which are searched with all others.
    let file = |name: &str| fs::File::create(dir.path(name)).unwrap();
    let mut watch = with_secret(dir.watch(&["--json"]));
    watch.stdout(file("said.jsonl")).stderr(file("said.txt"));
    let mut child = watch.spawn().unwrap();
    let pid = child.id();
    until("an event", || {
        let events = fs::read_to_string(dir.path("events.jsonl")).unwrap_or_default();
        events.contains("\"type\":\"event\"")
    });
    for said in [
        "rtsp:",
        "/snap",
        "srt:",
        "mqtt://127.0.0.1",
        "webhook http",
        "302",
    ] {
        until(said, || {
            let messages = fs::read_to_string(dir.path("said.txt")).unwrap();
            messages.contains(said)
        });
    }
    until("metrics of all sinks", || {
        page(metrics).is_some_and(|page| page.matches("webhook http").count() >= 3)
    });
    is_clean("metrics", page(metrics).unwrap().as_bytes(), &secrets);
    let status = dir.ctl(&["--socket", "ctl.sock", "status"]);
    assert_eq!(status.status.code(), Some(0));
    is_clean("ctl status", &status.stdout, &secrets);
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    is_clean("cmdline", &arguments, &secrets);
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap();
    is_clean("comm", &name, &secrets);
    let variables = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let ours = format!("THE_PASSWORD={MARKER}");
    let others = String::from_utf8_lossy(&variables).replace(&ours, "");
    is_clean("environ", others.as_bytes(), &secrets);

    let ended = Command::new("kill")
        .args(["-TERM", &pid.to_string()])
        .status();
    assert!(ended.unwrap().success());
    child.wait().unwrap();
    let mut files = Vec::new();
    files_below(&dir.path("."), &mut files);
    let has = |part: &str| {
        files
            .iter()
            .any(|path| path.to_string_lossy().contains(part))
    };
    for part in ["evidence.jsonl", "events.jsonl", ".msg", ".png", "said.txt"] {
        assert!(has(part), "no {part} in {files:?}");
    }
    for file in files {
        is_clean(
            &file.display().to_string(),
            &fs::read(&file).unwrap(),
            &secrets,
        );
        is_clean("its name", file.display().to_string().as_bytes(), &secrets);
    }
}

/// Each line is wrong in another way, behind lines with the secret, or at it.
#[test]
fn a_broken_configuration_is_told_without_its_secrets() {
    let dir = TestDir::new();
    let m = MARKER;
    let mqtt = format!("[[mqtt]]\nurl = 'mqtt://me:{m}@h/p'\n");
    let hook = format!("[[webhook]]\nurl = 'https://h/p'\nheaders = {{ A = '{m}' }}\n");
    for (number, broken) in [
        format!("{mqtt}qos = 7\n"),
        format!("{mqtt}keep-alive = 'never'\n"),
        format!("{mqtt}ca = 'absent.pem'\n"),
        format!("{mqtt}password = '{m}'\n"),
        format!("{mqtt}password-file = 'absent'\n"),
        format!("[[mqtt]]\nurl = 'mqtt://me:{m}@h:99999/p'\n"),
        format!("[[mqtt]]\nurl = 'mqtt://me:{m}@h/p\n"),
        format!("[[mqtt]]\nurl = ['mqtt://me:{m}@h/p']\n"),
        format!("[[mqtt]]\nurl = 'mqtt://me:{m}@'\n"),
        format!("[[mqtt]]\nurl = 'mqqt://me:{m}@h/p'\n"),
        format!("{hook}timeout = 0\n"),
        format!("{hook}token = '{m}'\n"),
        format!("[[webhook]]\nurl = 'https://h/p'\nheaders = ['{m}']\n"),
        format!("[[webhook]]\nurl = 'https://h/p'\nheaders = {{ 'A B' = '{m}' }}\n"),
        format!("[[webhook]]\nurl = 'https://h/p'\nheaders = {{ A = \"{m}\\n\" }}\n"),
        format!("[[webhook]]\nurl = 'https://me:{m}@h:x/p'\n"),
        format!("[[webhook]]\nurl = 'ftp://me:{m}@h/p'\n"),
        format!("[[webhook]]\nurl = 'https://me:{m}@h/p'\nheaders = {{ Authorization = '{m}' }}\n"),
        format!("[[source]]\nuri = 'rtsp://me:{m}@cam/live'\nname = '/'\n"),
        format!("[[source]]\nuri = 'rtsp://me:{m}@cam/live#fps=x'\n"),
        format!("[[source]]\nuri = 'rtps://me:{m}@cam/live'\n"),
        format!("[[source]]\nuri = 'srt://cam:1?passphrase={m}#grye=true'\n"),
        format!("{mqtt}{mqtt}client-id = 3\n"),
    ]
    .iter()
    .enumerate()
    {
        let configuration = format!("{broken}[[source]]\nuri = 'folder/'\n");
        fs::write(dir.path("edge-vae.toml"), &configuration).unwrap();
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_edge-vae"));
        doctor
            .args(["doctor", "--json", "--config", "edge-vae.toml"])
            .current_dir(dir.path("."))
            .env("XDG_STATE_HOME", dir.path("state"))
            .env("EDGE_VAE_MODEL", dir.path("model"));
        for mut command in [dir.watch(&["--check"]), dir.watch(&[]), doctor] {
            let output = command.output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            let shown = String::from_utf8_lossy(&text);
            assert_ne!(output.status.code(), Some(0), "{number} {broken}: {shown}");
            is_clean(&format!("{number} {broken}"), &text, &[m.to_owned()]);
        }
    }
}

/// Keys of sealed models, and of signatures, where something is wrong with them.
#[test]
fn keys_that_do_not_fit_are_told_without_their_content() {
    let dir = TestDir::new();
    let own = generate_identity(&dir.path("box")).unwrap();
    let secret = fs::read_to_string(&own.secret_file).unwrap();
    let secret = secret.lines().nth(1).unwrap().to_owned();
    let marker = dir.path("marker");
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-vae"));
        command
            .args(arguments)
            .current_dir(dir.path("."))
            .env("EDGE_VAE_MODEL", dir.path("sealed"))
            .env("XDG_STATE_HOME", dir.path("state"))
            .envs(variables.iter().copied());
        let output = command.output().unwrap();
        (
            output.status.code(),
            [output.stdout, output.stderr].concat(),
        )
    };
    let secrets = [MARKER.to_owned(), secret.clone(), secret[15..].to_owned()];
    fs::write(&marker, format!("{MARKER}\n")).unwrap();
    let sealed = run(
        &[
            "model",
            "seal",
            "model",
            "--passphrase-file",
            "marker",
            "--out",
            "sealed",
        ],
        &[],
    );
    assert_eq!(sealed.0, Some(0), "{}", String::from_utf8_lossy(&sealed.1));
    is_clean("seal", &sealed.1, &secrets);
    let opened = run(
        &["model", "info", "sealed"],
        &[("EDGE_VAE_PASSPHRASE", MARKER)],
    );
    assert_eq!(opened.0, Some(0), "{}", String::from_utf8_lossy(&opened.1));
    is_clean("info", &opened.1, &secrets);
    let wrong = format!("{MARKER}x");
    let half = format!("{secret}\n{}", &secret[..40]);
    for (text, name) in [(&wrong, "wrong"), (&half, "half"), (&secret, "another")] {
        fs::write(&marker, text).unwrap();
        for (arguments, variables) in [
            (
                &["model", "info", "sealed", "--identity", "marker"][..],
                vec![],
            ),
            (
                &["model", "info", "sealed"],
                vec![("EDGE_VAE_IDENTITY", text.as_str())],
            ),
            (&["model", "sign", "model", "--key", "marker"], vec![]),
            (
                &["model", "info", "model", "--require-signature", "marker"],
                vec![],
            ),
            (
                &[
                    "model",
                    "seal",
                    "model",
                    "--recipient",
                    "marker",
                    "--out",
                    "o",
                ],
                vec![],
            ),
        ] {
            let (code, text) = run(arguments, &variables);
            let shown = String::from_utf8_lossy(&text);
            assert_eq!(code, Some(2), "{name} {arguments:?}: {shown}");
            is_clean(&format!("{name} {arguments:?}"), &text, &secrets);
        }
    }
}
