use super::*;

fn answer(status: u16, headers: &[(&str, &str)]) -> Attempt {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    outcome(&response.body(Body::builder().data("")).unwrap())
}

#[test]
fn answers_say_whether_to_try_again() {
    assert_eq!(answer(200, &[]), Attempt::Taken);
    assert_eq!(answer(204, &[]), Attempt::Taken);
    for status in [301, 308, 408, 429, 500, 503] {
        assert!(
            matches!(answer(status, &[]), Attempt::Failed { .. }),
            "{status}"
        );
    }
    for status in [400, 401, 404, 413, 422] {
        assert!(
            matches!(answer(status, &[]), Attempt::Refused(_)),
            "{status}"
        );
    }
    let place = "https://me:secret@elsewhere/hook?token=secret";
    let Attempt::Failed { problem, .. } = answer(308, &[("location", place)]) else {
        panic!("it is tried again");
    };
    assert!(
        problem.contains("at https://me:***@elsewhere/hook;"),
        "{problem}"
    );
}

#[test]
fn a_server_says_when_to_try_again() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    for (text, seconds) in [
        ("120", Some(120)),
        (" 0 ", Some(0)),
        // RFC 9110's example, which is `now`, and a minute later.
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("soon", None),
    ] {
        assert_eq!(retry_after(text, now).map(|wait| wait.as_secs()), seconds);
    }
    let waits = Attempt::Failed {
        problem: "the server answers 503".to_owned(),
        retry_after: Some(Duration::from_secs(7)),
    };
    assert_eq!(answer(503, &[("retry-after", "7")]), waits);
}

#[test]
fn secrets_in_the_address_are_not_shown() {
    let settings = WebhookSettings::new("HTTPS://anna:x@host/T0123456789012345678901/a?b=c#d");
    assert_eq!(settings.describe(), "webhook https://host/***/a");
}

#[test]
fn wrong_settings_are_named_and_never_with_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let open = |text: &str| {
        let folder = dir.path().display();
        let text = format!("outbox.folder = '{folder}'\n{text}");
        Webhook::open(&toml::from_str::<WebhookSettings>(&text).unwrap())
            .err()
            .map(|error| error.to_string())
    };
    for (text, part) in [
        ("url = 'host'", "the url is none"),
        ("url = 'ftp://a:secret@host/'", "only http://"),
        ("url = 'http://a/?secret'\ntimeout = 0", "timeout is 0"),
        ("url = 'http://a'\nheaders = { 'a b' = 'x' }", "is no name"),
        (
            "url = 'http://a'\nheaders = { a = \"secret\\n\" }",
            "the value of a",
        ),
        ("url = 'http://a:1/secret@host/'", "%2F"),
        ("url = 'http://a:secret%4@host/'", "two digits"),
        (
            "url = 'http://a:secret@host/'\nheaders = { Authorization = 'x' }",
            "more than once",
        ),
        ("url = 'http://a'\nca = 'x.pem'", "only used by https"),
        ("url = 'https://a'\nca = 'x.pem'", "cannot read"),
    ] {
        let problem = open(text).unwrap();
        assert!(problem.contains(part), "{problem}");
        assert!(!problem.contains("secret"), "{problem}");
    }
    let settings = WebhookSettings::new("https://a:secret@b/?secret");
    assert!(!format!("{settings:?}").contains("secret"));
    assert_eq!(key(&["drift", "cam 1\n", "12"]), "drift-cam_1_-12");
}
