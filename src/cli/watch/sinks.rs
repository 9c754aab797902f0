//! Flags that name a sink, with its defaults for the rest.

use std::path::PathBuf;

use clap::Args;
use edge_vae::stream::{
    Configuration,
    sink::{
        EvidenceSinkSettings, GpioSettings, ListenAddress, LogSettings, MqttSettings,
        PicturesSettings, PrometheusSettings, ScreenSettings, WebhookSettings,
    },
};

use crate::cli::evidence::EvidenceFlags;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sinks")]
pub(super) struct SinkFlags {
    /// Append events to this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// Keep pictures of events in this folder.
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,

    /// Publish events to an MQTT broker: mqtt://user:password@host/topic.
    #[arg(long, value_name = "URL")]
    mqtt: Option<String>,

    /// Post events to this address.
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,

    /// Show the picture on a framebuffer (/dev/fb0), or in a PNG file that is replaced every
    /// second.
    #[arg(long, value_name = "DEVICE")]
    screen: Option<PathBuf>,

    /// Serve metrics on this address: localhost:9184, or :9184 for everybody.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<ListenAddress>,

    #[command(flatten)]
    evidence: EvidenceFlags,

    /// Set an output line during events: /dev/gpiochip0:17.
    #[arg(long, value_name = "LINE")]
    gpio: Option<String>,
}

impl SinkFlags {
    /// Adds the sinks to those of the configuration.
    pub(super) fn add_to(&self, configuration: &mut Configuration) {
        let flags = self.clone();
        configuration.logs.extend(flags.log.map(LogSettings::new));
        let pictures = flags.pictures.map(PicturesSettings::new);
        configuration.pictures.extend(pictures);
        configuration.mqtt.extend(flags.mqtt.map(MqttSettings::new));
        let webhook = flags.webhook.map(WebhookSettings::new);
        configuration.webhooks.extend(webhook);
        let screen = flags.screen.map(ScreenSettings::new);
        configuration.screens.extend(screen);
        configuration.gpio.extend(flags.gpio.map(GpioSettings::new));
        configuration
            .evidence
            .extend(flags.evidence.evidence.map(|path| EvidenceSinkSettings {
                key: flags.evidence.evidence_key,
                ..EvidenceSinkSettings::new(path)
            }));
        let metrics = flags.metrics.map(|address| PrometheusSettings {
            address,
            ..PrometheusSettings::default()
        });
        configuration.prometheus.extend(metrics);
    }
}
