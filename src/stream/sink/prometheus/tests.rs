use std::{
    io::{Read, Write as _},
    net::TcpStream,
};

use super::{super::test_messages as messages, *};
use crate::stream::record::{SinkTally, StageTally};

fn any_port() -> PrometheusSettings {
    PrometheusSettings {
        address: "127.0.0.1:0".parse().unwrap(),
        ..PrometheusSettings::default()
    }
}

fn asked(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_are_served_as_they_were_counted_last() {
    let mut sink = Prometheus::open(&any_port()).unwrap();
    let address = sink.address();
    assert!(asked(address, "GET /metrics").starts_with("HTTP/1.1 200"));
    sink.take(&messages::tally(&["cam 1"])).unwrap();
    let answer = asked(address, "GET /metrics");
    assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
    for line in [
        "# TYPE edge_vae_frames_total counter",
        "edge_vae_frames_total{source=\"cam 1\",label=\"normal\"} 1780",
        "edge_vae_frames_total{source=\"cam 1\",label=\"anomalous\"} 8",
        "edge_vae_frames_for_review_total{source=\"cam 1\"} 40",
        "edge_vae_events_total{source=\"cam 1\"} 3",
        "edge_vae_review_events_total{source=\"cam 1\"} 5",
        "edge_vae_frames_dropped_total{source=\"cam 1\"} 10",
        "edge_vae_source_up{source=\"cam 1\"} 1",
        "edge_vae_temperature_celsius 61.4",
    ] {
        assert!(
            answer.lines().any(|found| found == line),
            "{line}:\n{answer}"
        );
    }
    assert!(asked(address, "GET /healthz").starts_with("HTTP/1.1 200"));
    assert!(asked(address, "GET /").starts_with("HTTP/1.1 404"));
    assert!(asked(address, "DELETE /metrics").starts_with("HTTP/1.1 405"));
    let error = Prometheus::open(&PrometheusSettings {
        address: address.to_string().parse().unwrap(),
        ..any_port()
    })
    .err()
    .unwrap();
    assert!(
        error.to_string().contains("in use by another program"),
        "{error}"
    );
    drop(sink);
    let begun = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(30), "still listening");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_stalled_pipeline_is_not_healthy() {
    let settings = PrometheusSettings {
        timeout: Duration::ZERO,
        ..any_port()
    };
    let sink = Prometheus::open(&settings).unwrap();
    assert!(asked(sink.address(), "GET /healthz").starts_with("HTTP/1.1 503"));
}

#[test]
fn names_are_escaped_and_families_are_whole() {
    let tally = Tally {
        sources: vec![SourceTally {
            name: "a\"b\\c\nd".to_owned(),
            ..SourceTally::default()
        }],
        stages: vec![StageTally {
            stage: "total",
            p50: 12.5,
            p95: 20.0,
            p99: 30.0,
            max: 250.0,
        }],
        sinks: vec![SinkTally {
            name: "log x".to_owned(),
            taken: 5,
            ..SinkTally::default()
        }],
        ..Tally::default()
    };
    let text = written(&tally);
    assert!(
        text.contains(r#"edge_vae_events_total{source="a\"b\\c\nd"} 0"#),
        "{text}"
    );
    assert!(text.contains(r#"edge_vae_stage_seconds{stage="total",quantile="0.5"} 0.0125"#));
    assert!(text.contains(r#"edge_vae_sink_messages_total{sink="log x"} 5"#));
    assert!(!text.contains("temperature"));
    // Every sample belongs to the family whose type was said last.
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            assert_eq!(name, family);
        }
    }
}

#[test]
fn addresses_to_listen_on_are_read() {
    for text in [
        "localhost:0",
        "127.0.0.1:0",
        "[::1]:9184",
        ":0",
        "my-host.lan:80",
    ] {
        let address: ListenAddress = text.parse().unwrap();
        assert_eq!(address.to_string(), text);
    }
    for text in [
        "localhost",
        "9184",
        "::1",
        "http://localhost:9184",
        "a:b",
        "a:70000",
    ] {
        let problem = text.parse::<ListenAddress>().unwrap_err();
        assert!(problem.contains("write 127.0.0.1:9184"), "{problem}");
    }
    let bound = |text: &str| {
        let listener = text.parse::<ListenAddress>().unwrap().bind().unwrap();
        listener.local_addr().unwrap().ip()
    };
    assert!(bound("localhost:0").is_loopback());
    assert!(bound(":0").is_unspecified());
    assert!(
        "no-such-host.invalid:0"
            .parse::<ListenAddress>()
            .unwrap()
            .bind()
            .is_err()
    );
}
