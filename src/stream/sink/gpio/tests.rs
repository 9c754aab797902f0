use std::sync::{Arc, Mutex};

use super::{super::test_messages as messages, *};

use GpioLevel::{Active, Inactive};

fn logic(text: &str) -> Logic {
    Logic::new(&toml::from_str(&format!("line = '/dev/gpiochip0:17'\n{text}")).unwrap())
}

/// Hears messages at times in milliseconds, and says the level after each.
fn levels(logic: &mut Logic, begin: Instant, script: &[(u64, Option<Message>)]) -> Vec<GpioLevel> {
    script
        .iter()
        .map(|(at, message)| {
            let now = begin + Duration::from_millis(*at);
            if let Some(message) = message {
                logic.take_in(message, now);
            }
            logic.level(now)
        })
        .collect()
}

#[test]
fn an_event_is_shown_for_as_long_as_it_is_open_and_a_pulse_at_least() {
    let mut logic = logic("minimum-pulse = '300ms'");
    let found = levels(
        &mut logic,
        Instant::now(),
        &[
            (0, None),
            (10, Some(messages::frame("cam", 1, 9.0))),
            (20, Some(messages::opened("e1", "cam"))),
            (30, Some(messages::closed("e1", "cam"))),
            (319, None),
            (320, None),
            (330, Some(messages::opened("e2", "cam"))),
            (2000, Some(messages::frame("cam", 2, 9.0))),
            (2010, Some(messages::closed("e2", "cam"))),
        ],
    );
    assert_eq!(
        found,
        [
            Inactive, Inactive, Active, Active, Active, Inactive, Active, Active, Inactive
        ]
    );
}

#[test]
fn an_event_of_frames_for_review_is_a_condition_of_its_own() {
    let script = || {
        [
            (0, Some(messages::frame("cam", 1, 1.0))),
            (10, Some(messages::review_opened("r1", "cam"))),
            (20, Some(messages::opened("e1", "cam"))),
        ]
    };
    let begin = Instant::now();
    let mut review = logic("on = 'review'\nminimum-pulse = 0");
    assert_eq!(
        levels(&mut review, begin, &script()),
        [Inactive, Active, Active]
    );
    let mut event = logic("on = 'event'\nminimum-pulse = 0");
    assert_eq!(
        levels(&mut event, begin, &script()),
        [Inactive, Inactive, Active]
    );
}

#[test]
fn silence_and_loss_are_fail_safe() {
    let script = || {
        [
            (0, None),
            (10, Some(messages::frame("cam", 1, 1.0))),
            (5010, None),
            (5011, None),
            (5020, Some(messages::frame("cam", 2, 1.0))),
            (5030, Some(messages::lost("cam"))),
            (5040, Some(messages::source("cam", true))),
        ]
    };
    let begin = Instant::now();
    let mut safe = logic("fail-safe = 'active'\nminimum-pulse = 0");
    let expected = [
        Active, Inactive, Inactive, Active, Inactive, Active, Inactive,
    ];
    assert_eq!(levels(&mut safe, begin, &script()), expected);
    let mut plain = logic("minimum-pulse = 0");
    assert_eq!(levels(&mut plain, begin, &script()), [Inactive; 7]);
    let mut fault = logic("on = 'fault'\nminimum-pulse = 0");
    let expected = [
        Inactive, Inactive, Inactive, Active, Inactive, Active, Inactive,
    ];
    assert_eq!(levels(&mut fault, begin, &script()), expected);
    let mut patient = logic("on = 'fault'\nminimum-pulse = 0\ntimeout = 0");
    let found = levels(&mut patient, begin, &script());
    assert_eq!(found[3], Inactive);
}

#[test]
fn labels_are_told_apart_and_sources_do_not_hide_each_other() {
    let script = || {
        [
            (0, Some(messages::frame("a", 1, 9.0))),
            (1, Some(messages::frame("b", 1, 1.0))),
            (2, Some(messages::frame("a", 2, f64::NAN))),
            (3, Some(messages::frame("a", 3, 1.0))),
        ]
    };
    let begin = Instant::now();
    for (on, expected) in [
        ("anomalous", [Active, Active, Inactive, Inactive]),
        ("invalid", [Inactive, Inactive, Active, Inactive]),
        ("fault", [Inactive, Inactive, Active, Inactive]),
    ] {
        let mut logic = logic(&format!("on = '{on}'\nminimum-pulse = 0"));
        assert_eq!(levels(&mut logic, begin, &script()), expected, "{on}");
    }
    // One camera lost, the other sees a defect.
    let mut logic = logic("on = 'anomalous'\nminimum-pulse = 0");
    let found = levels(
        &mut logic,
        begin,
        &[
            (0, Some(messages::lost("a"))),
            (1, Some(messages::frame("b", 1, 9.0))),
        ],
    );
    assert_eq!(found, [Inactive, Active]);
}

struct Fake(Arc<Mutex<(Vec<GpioLevel>, bool)>>);

impl Line for Fake {
    fn set(&mut self, level: GpioLevel) -> Result<(), String> {
        let mut state = self.0.lock().unwrap();
        if state.1 {
            return Err("broken".to_owned());
        }
        state.0.push(level);
        Ok(())
    }
}

#[test]
fn the_line_is_set_when_the_level_changes_and_left_safe() {
    let state = Arc::new(Mutex::new((Vec::new(), false)));
    let mut settings = GpioSettings::new("x:1");
    settings.fail_safe = Active;
    settings.minimum_pulse = Duration::ZERO;
    let line = Box::new(Fake(Arc::clone(&state)));
    let mut gpio = Gpio::on("gpio x:1".to_owned(), &settings, line, Some(Active));
    gpio.idle().unwrap();
    for number in 0..3 {
        gpio.take(&messages::frame("cam", number, 1.0)).unwrap();
    }
    assert_eq!(state.lock().unwrap().0, [Inactive]);
    state.lock().unwrap().1 = true;
    let error = gpio.take(&messages::opened("e", "cam")).unwrap_err();
    assert_eq!(error.to_string(), "gpio x:1: broken");
    state.lock().unwrap().1 = false;
    gpio.idle().unwrap();
    gpio.take(&messages::closed("e", "cam")).unwrap();
    gpio.finish().unwrap();
    drop(gpio);
    assert_eq!(
        state.lock().unwrap().0,
        [Inactive, Active, Inactive, Active]
    );
}
