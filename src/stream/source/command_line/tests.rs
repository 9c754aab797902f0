use super::*;

const BOTH: Tools = Tools {
    ffmpeg: Some([5, 1]),
    gstreamer: true,
};

fn shown(tools: Tools, uri: &str) -> Result<Option<String>, String> {
    let uri: super::super::SourceUri = uri.parse().unwrap();
    let command = tools.command(uri.address(), uri.settings())?;
    Ok(command.map(|command| command.to_string()))
}

#[test]
fn commands_are_those_that_the_documents_show() {
    let of = |uri| shown(BOTH, uri).unwrap().unwrap();
    assert_eq!(
        of("rtsp://cam/live?channel=1&x=2"),
        "ffmpeg -nostdin -hide_banner -loglevel error -fflags nobuffer -thread_type slice \
             -rtsp_transport tcp -timeout 5000000 -i 'rtsp://cam/live?channel=1&x=2' -map 0:v:0 \
             -fps_mode passthrough -pix_fmt rgb24 -c:v ppm -f image2pipe pipe:1"
    );
    assert_eq!(
        of("file://it's a clip.mp4?grey=true&realtime=true"),
        "ffmpeg -nostdin -hide_banner -loglevel error -re -i 'file:it'\\''s a clip.mp4' \
             -map 0:v:0 -fps_mode passthrough -pix_fmt gray -c:v pgm -f image2pipe pipe:1"
    );
    assert_eq!(
        of("csi://0?width=1920&height=1080&fps=29.97"),
        "gst-launch-1.0 -q nvarguscamerasrc sensor-id=0 ! \
             'video/x-raw(memory:NVMM),width=1920,height=1080,framerate=29970/1000,format=NV12' ! \
             nvvidconv ! video/x-raw,width=1920,height=1080,format=NV12 ! fdsink fd=1 sync=false"
            .replace(" ! ", " '!' ")
    );
    assert_eq!(
        of("rtsp://cam/live#decoder=gstreamer&transport=udp"),
        "gst-launch-1.0 -q rtspsrc location=rtsp://cam/live protocols=udp latency=100 \
             tcp-timeout=5000000 ! decodebin ! videoconvert ! video/x-raw,format=RGB ! pnmenc ! \
             fdsink fd=1 sync=false"
            .replace(" ! ", " '!' ")
    );
    assert_eq!(of("pipe:cat $x | tee y"), "sh -c 'cat $x | tee y'");
    assert_eq!(shown(BOTH, "/dev/video0"), Ok(None));
}

#[test]
fn a_shell_reads_the_words_that_were_meant() {
    let words = [
        "plain",
        "two words",
        "it's",
        "$HOME `x` \"q\" \\ ! *",
        "",
        "ü\nn",
    ];
    let line = CommandLine::new("printf", [&["%s\\0"][..], &words].concat()).to_string();
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    let expected: String = words.map(|word| format!("{word}\0")).concat();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn older_programs_have_other_options() {
    let old = Tools {
        ffmpeg: Some([4, 4]),
        gstreamer: false,
    };
    let command = shown(old, "rtsps://cam/live").unwrap().unwrap();
    assert!(
        command.contains(" -stimeout ") && command.contains(" -vsync 0 "),
        "{command}"
    );
    for (said, version) in [
        ("ffmpeg version 5.1.9-0+deb12u1 Copyright", Some([5, 1])),
        (
            "ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright",
            Some([4, 4]),
        ),
        ("ffmpeg version n8.0 Copyright", Some([8, 0])),
        ("ffmpeg version 7-x", Some([7, 0])),
        ("ffmpeg version N-118000-gabc Copyright", None),
        ("", None),
    ] {
        assert_eq!(parse_version(said), version, "{said}");
    }
}

#[test]
fn what_is_not_installed_is_named() {
    let gstreamer = Tools {
        ffmpeg: None,
        gstreamer: true,
    };
    assert!(
        shown(gstreamer, "a.mp4")
            .unwrap()
            .unwrap()
            .starts_with("gst-launch-1.0 ")
    );
    let problem = |tools, uri| shown(tools, uri).unwrap_err();
    assert!(problem(gstreamer, "a.mp4?decoder=ffmpeg").contains("the package ffmpeg"));
    assert!(problem(gstreamer, "a.mp4?loop=true").contains("loop needs ffmpeg"));
    assert!(problem(Tools::default(), "a.mp4").contains("neither"));
    assert!(problem(Tools::default(), "csi://0").contains("gstreamer1.0-tools"));
    assert!(problem(BOTH, "csi://0?height=719").contains("an even one"));
}
