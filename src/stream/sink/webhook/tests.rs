use super::*;

#[test]
fn answers_say_whether_to_try_again() {
    assert_eq!(judge(200), Attempt::Taken);
    assert_eq!(judge(204), Attempt::Taken);
    for status in [301, 408, 429, 500, 503] {
        assert!(matches!(judge(status), Attempt::Failed(_)), "{status}");
    }
    for status in [400, 401, 404, 413, 422] {
        assert!(matches!(judge(status), Attempt::Refused(_)), "{status}");
    }
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
