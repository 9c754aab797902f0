//! What `evaluate` says of data sets of every layout, whole and damaged.

use std::path::Path;

use edge_vae::{
    Frame,
    frame::{PixelFormat, Samples},
    metrics::{self, Components, RegionCounts},
    synth::{DatasetCounts, SurfaceSettings, write_dataset},
};
use ndarray::Array2;
use ndarray_npy::ReadNpyExt;
use serde_json::Value;

use crate::{
    test_dir::{Ran, TestDir},
    tiny,
};

/// A mask of 32×32 pixels, set in the square of four pixels that a spot at (5, 2) covers.
fn mask(set: bool) -> Vec<u8> {
    let mut samples = vec![0; 32 * 32];
    if set {
        for y in 8..12 {
            samples[y * 32 + 20..y * 32 + 24].fill(255);
        }
    }
    tiny::png(&Frame::from_u8(32, 32, PixelFormat::Gray8, samples, "mask").unwrap())
}

/// `data` with three normal frames and three of two kinds of defects, one of them without a spot.
fn data_set(dir: &TestDir) {
    for name in ["1", "2", "3"] {
        dir.frame(&format!("data/test/good/{name}.png"), None);
    }
    dir.frame("data/test/spot/1.png", Some((5, 2)));
    dir.frame("data/test/spot/2.png", None);
    dir.frame("data/test/dust/1.png", Some((5, 2)));
    for name in ["spot/1", "spot/2", "dust/1"] {
        dir.write(&format!("data/ground_truth/{name}_mask.png"), mask(true));
    }
}

fn keys(record: &Value) -> Vec<&str> {
    record
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

fn number(record: &Value, key: &str) -> f64 {
    record[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} in {record}"))
}

fn only(ran: &Ran) -> Value {
    let mut records = ran.json();
    assert_eq!(records.len(), 1, "{ran:?}");
    records.remove(0)
}

const METRICS: [&str; 9] = [
    "image_AP",
    "image_AUROC",
    "image_F1Max",
    "pixel_AUPRO",
    "pixel_AUPRO_5",
    "pixel_AUROC",
    "pixel_F1Max",
    "region_precision",
    "region_recall",
];

/// Counts of a frame whose verdict has one region at most: that of the map's highest pixels.
fn region_counts(map: &Array2<f32>, regions: &Value, defective: bool) -> RegionCounts {
    let regions = regions.as_array().map_or(&[][..], Vec::as_slice);
    assert!(regions.len() <= 1, "{regions:?}");
    let area = regions
        .first()
        .map_or(0, |region| region["area"].as_u64().unwrap());
    let mut values: Vec<f32> = map.iter().copied().collect();
    values.sort_unstable_by(|a, b| b.total_cmp(a));
    let predicted = map.mapv(|value| area > 0 && value >= values[area as usize - 1]);
    let actual = Array2::from_shape_fn(map.dim(), |(y, x)| {
        defective && (8..12).contains(&y) && (20..24).contains(&x)
    });
    let [predicted, actual] = [predicted, actual].map(|set| Components::of(set.view()));
    assert_eq!(u64::from(predicted.sizes.iter().sum::<u32>()), area);
    RegionCounts::of(&predicted, &actual)
}

#[test]
fn the_json_has_the_metrics_of_scores_and_maps() {
    let dir = TestDir::new();
    data_set(&dir);
    let record = only(
        dir.verb("evaluate", &["data", "--json", "--seed", "3"])
            .is_fine(),
    );
    for key in METRICS {
        let value = number(&record, key);
        let interval = &record["intervals"][key];
        let (lower, upper) = (interval[0].as_f64().unwrap(), interval[1].as_f64().unwrap());
        assert!(
            0.0 <= lower && lower <= value && value <= upper && upper <= 1.0,
            "{key}"
        );
    }
    assert_eq!(record["schema_version"], 1);
    assert_eq!(record["seed"], 3);
    assert_eq!(record["dataset"], "data");
    assert_eq!(keys(&record["by_kind"]), ["dust", "spot"]);
    // At each rate of the table: the frames of the test part above its threshold.
    let rows = record["operating_table"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0]["missing"], 899);
    assert_eq!(rows[0]["found"], Value::Null);
    let set = &rows[3];
    assert_eq!(set["is_set"], true);
    assert_eq!(set["threshold"], record["threshold"]);
    assert_eq!(set["found"]["count"], 2);
    assert_eq!(set["found"]["frames"], 3);
    // scipy.stats.binomtest(2, 3).proportion_ci(0.95, method="exact")
    let ends = &set["found"]["interval"];
    assert!(
        (ends[0].as_f64().unwrap() - 0.094_299_3).abs() < 1e-6,
        "{ends}"
    );
    assert_eq!(set["by_kind"]["dust"]["count"], 1);
    assert_eq!(set["false_alarms"]["frames"], 3);
    assert_eq!(set["synthetic_defects"]["all"]["of"], 9);
    for kind in ["dust", "spot"] {
        let found = keys(&record["by_kind"][kind]);
        assert!(METRICS.iter().all(|key| found.contains(key)), "{found:?}");
    }

    // The same from the scores and maps of `score`.
    let scored = dir.verb("score", &["--json", "data/test", "--map", "maps"]);
    let (mut normal, mut defective) = (Vec::new(), Vec::new());
    let (mut background, mut inside) = (Vec::new(), Vec::new());
    let mut regions = RegionCounts::default();
    for line in scored.is_fine().json() {
        let path = line["path"].as_str().unwrap();
        let good = path.contains("good");
        let side = if good { &mut normal } else { &mut defective };
        side.push(line["pred_score"].as_f64().unwrap());
        let map = dir.at(line["map"]["npy"].as_str().unwrap());
        let map = Array2::<f32>::read_npy(std::fs::File::open(map).unwrap()).unwrap();
        for ((y, x), &value) in map.indexed_iter() {
            let set = !good && (8..12).contains(&y) && (20..24).contains(&x);
            let side = if set { &mut inside } else { &mut background };
            side.push(f64::from(value));
        }
        regions += region_counts(&map, &line["regions"], !good);
    }
    let near = |key: &str, expected: Option<f64>| {
        assert!(
            (number(&record, key) - expected.unwrap()).abs() < 1e-12,
            "{key}"
        );
    };
    near("image_AUROC", metrics::auroc(&normal, &defective));
    near("image_AP", metrics::average_precision(&normal, &defective));
    near(
        "image_F1Max",
        metrics::f1_max(&normal, &defective).map(|f1| f1.value),
    );
    near("pixel_AUROC", metrics::auroc(&background, &inside));
    near(
        "pixel_F1Max",
        metrics::f1_max(&background, &inside).map(|f1| f1.value),
    );
    assert_eq!(record["pixels"]["regions"], 3);
    assert_eq!(record["pixels"]["defective"], 3 * 16);
    assert_eq!(record["pixels"]["size"], "frame");
    assert_eq!((regions.predicted, regions.actual), (2, 3));
    near("region_precision", regions.precision());
    near("region_recall", regions.recall());
    let expected = serde_json::json!({
        "minimum_iou": 0.3, "predicted": 2, "actual": 3, "matched": regions.matched,
    });
    assert_eq!(record["regions"], expected);
    assert_eq!(record["by_kind"]["spot"]["regions"]["predicted"], 1);
    assert_eq!(record["by_kind"]["spot"]["regions"]["actual"], 2);

    assert_eq!(record["misses"]["count"], 1);
    assert_eq!(record["misses"]["frames"], 3);
    assert_eq!(record["by_kind"]["spot"]["misses"]["rate"], 0.5);
    assert_eq!(record["false_alarms"]["count"], 0);
    assert_eq!(record["false_alarms"]["target_inside"], true);
    // 1 − 0.025^(1/3): Clopper and Pearson for none of three.
    let upper = record["false_alarms"]["interval"][1].as_f64().unwrap();
    assert!(
        (upper - (1.0 - 0.025_f64.powf(1.0 / 3.0))).abs() < 1e-9,
        "{upper}"
    );
}

#[test]
fn the_seed_decides_and_no_resamples_mean_no_intervals() {
    let dir = TestDir::new();
    data_set(&dir);
    let run = |flags: &[&str]| {
        let ran = dir.verb(
            "evaluate",
            &[&["data", "--json", "--bootstrap", "50"], flags].concat(),
        );
        let mut record = only(ran.is_fine());
        record["seconds"] = Value::Null;
        record
    };
    assert_eq!(run(&[]), run(&[]));
    let limited = run(&["--limit", "4", "--seed", "1"]);
    assert_eq!(limited["counts"]["frames"], 4);
    assert_eq!(limited, run(&["--limit", "4", "--seed", "1"]));
    let ran = dir.verb("evaluate", &["data", "--json", "--bootstrap", "0"]);
    let record = only(ran.is_fine());
    assert!(keys(&record["intervals"]).is_empty());
    assert_eq!(
        number(&record, "pixel_AUPRO"),
        number(&run(&[]), "pixel_AUPRO")
    );
    let tensor = run(&["--pixels", "tensor"]);
    assert_eq!(tensor["pixels"]["size"], "tensor");
    // One pixel of the 8×8 tensor is a square of four.
    assert_eq!(tensor["pixels"]["defective"], 3);
}

#[test]
fn the_table_says_the_same_for_people() {
    let dir = TestDir::new();
    data_set(&dir);
    let ran = dir.verb("evaluate", &["data"]);
    let text = &ran.is_fine().stdout;
    for part in [
        " on data: 3 normal, 3 with a defect",
        "image AUROC",
        "AUPRO 30 %",
        "false alarms  0 of 3 = 0.0 % (0.0–70.8 %); the target rate lies inside",
        "misses        1 of 3 = 33.3 % (0.8–90.6 %)",
        "3 regions, compared in the frame's size",
        "regions       2 predicted, 3 in masks,",
        "region recall",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let row = |name: &str| text.lines().any(|line| line.starts_with(name));
    assert!(row("all ") && row("dust ") && row("spot "));
}

#[test]
fn what_cannot_be_scored_is_named_and_counted() {
    let dir = TestDir::new();
    data_set(&dir);
    let black = Frame::from_u8(32, 32, PixelFormat::Gray8, vec![0; 1024], "black").unwrap();
    dir.write("data/test/good/black.png", tiny::png(&black));
    dir.write(
        "data/test/spot/torn.png",
        &tiny::png(&tiny::frame(4, None))[..60],
    );
    dir.frame("data/test/dust/2.png", Some((1, 1)));
    dir.frame("data/test/dust/3.png", Some((5, 2)));
    dir.frame("data/test/dust/4.png", Some((5, 2)));
    dir.write(
        "data/ground_truth/dust/3.png",
        tiny::png(&tiny::frame(1, None)),
    );
    dir.write("data/ground_truth/dust/4_mask.png", mask(false));
    let ran = dir.run(&["evaluate", "--model", "model", "data", "--json"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for line in [
        "test/good/black.png: the frame is black",
        "test/spot/torn.png",
        "test/dust/2.png: no mask in ground_truth/dust",
        "3.png: the mask has 8×8 pixels and its frame 32×32",
        "test/dust/4.png: its mask is empty",
    ] {
        let told = ran
            .stderr
            .lines()
            .filter(|told| told.contains(line))
            .count();
        assert_eq!(told, 1, "{line:?} in\n{}", ran.stderr);
    }
    let record = only(&ran);
    let counts = &record["counts"];
    assert_eq!(
        (&counts["frames"], &counts["scored"]),
        (&11.into(), &9.into())
    );
    assert_eq!(
        (&counts["invalid"], &counts["unreadable"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        (&counts["normal"], &counts["defective"]),
        (&3.into(), &6.into())
    );
    assert_eq!(record["invalid"][0]["name"], "test/good/black.png");
    assert_eq!(record["unreadable"][0]["name"], "test/spot/torn.png");
    assert_eq!(
        record["masks"]["missing"],
        serde_json::json!(["test/dust/2.png"])
    );
    assert_eq!(record["masks"]["unusable"][0]["name"], "test/dust/3.png");
    assert_eq!(
        record["masks"]["empty"],
        serde_json::json!(["test/dust/4.png"])
    );
    // Three normal frames, three with usable masks, and the one with an empty mask.
    assert_eq!(record["pixels"]["regions"], 3);
    assert_eq!(record["pixels"]["background"], 7 * 1024 - 3 * 16);
    let ran = dir.verb("evaluate", &["data"]);
    assert!(
        ran.stdout.contains("1 frame invalid") && ran.stdout.contains("1 frame without a mask")
    );
}

#[test]
fn without_masks_there_are_no_pixel_metrics_and_without_defects_no_others() {
    let dir = TestDir::new();
    for (name, spot) in [("good/1", None), ("good/2", None), ("odd/1", Some((5, 2)))] {
        dir.frame(&format!("plain/{name}.png"), spot);
    }
    dir.frame("normal/good/1.png", None);
    let record = only(dir.verb("evaluate", &["plain", "--json"]).is_fine());
    assert_eq!(number(&record, "image_AUROC"), 1.0);
    assert!(
        keys(&record).iter().all(|key| !key.starts_with("pixel")),
        "{record}"
    );
    let kind = &record["by_kind"]["odd"];
    assert!(
        keys(kind).iter().all(|key| !key.starts_with("pixel")),
        "{kind}"
    );

    let record = only(
        dir.verb("evaluate", &["normal", "--json", "--html", "r.html"])
            .is_fine(),
    );
    assert!(record["image_AUROC"].is_null() && record["image_AP"].is_null());
    assert_eq!(record["misses"]["rate"], Value::Null);
    assert_eq!(record["by_kind"], serde_json::json!({}));
    assert_eq!(record["false_alarms"]["frames"], 1);
}

#[test]
fn idx_files_have_a_normal_class() {
    let dir = TestDir::new();
    let idx = |magic: u8, sizes: &[u32], values: &[u8]| {
        let mut bytes = vec![0, 0, 8, magic];
        sizes
            .iter()
            .for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(values);
        bytes
    };
    let pictures: Vec<u8> = [None, Some((5, 2)), None, Some((1, 6))]
        .into_iter()
        .flat_map(|spot| match tiny::frame(1, spot).samples() {
            Samples::U8(samples) => samples.clone(),
            Samples::U16(_) => unreachable!("tiny frames have 8 bits"),
        })
        .collect();
    for part in ["train", "t10k"] {
        dir.write(
            &format!("idx/{part}-images-idx3-ubyte"),
            idx(3, &[4, 8, 8], &pictures),
        );
        dir.write(
            &format!("idx/{part}-labels-idx1-ubyte"),
            idx(1, &[4], &[7, 2, 7, 9]),
        );
    }
    let record = only(
        dir.verb("evaluate", &["idx", "--class", "7", "--json"])
            .is_fine(),
    );
    assert_eq!(record["counts"]["normal"], 2);
    assert_eq!(keys(&record["by_kind"]), ["class-2", "class-9"]);
    assert_eq!(number(&record, "image_AUROC"), 1.0);
    dir.verb("evaluate", &["idx", "--class", "3"])
        .fails_at_once(&["label 3"]);
}

#[test]
fn a_wrong_command_line_is_told_before_any_work() {
    let dir = TestDir::new();
    dir.frame("loose/1.png", None);
    dir.frame("data/test/good/1.png", None);
    dir.write("in-the-way", "x");
    for (arguments, words) in [
        (&["loose"][..], &["no test/ and no good/"][..]),
        (&["none"], &["none"]),
        (&["data", "--class", "1"], &["class 1"]),
        (&["data", "--html", "in-the-way"], &["in-the-way"]),
        (&["data", "--limit", "0"], &["--limit"]),
        (&["data", "--pixels", "both"], &["both"]),
    ] {
        dir.verb("evaluate", arguments).fails_at_once(words);
    }
    dir.write("black/test/good/1.png", {
        let black = Frame::from_u8(8, 8, PixelFormat::Gray8, vec![0; 64], "black").unwrap();
        tiny::png(&black)
    });
    dir.verb("evaluate", &["black"])
        .fails(&["none of 1 frame could be scored"]);
}

#[test]
fn the_page_needs_nothing_beside_itself() {
    let dir = TestDir::new();
    let settings = SurfaceSettings {
        width: 96,
        height: 96,
        ..SurfaceSettings::default()
    };
    let counts = DatasetCounts {
        train: 1,
        test_good: 4,
        per_kind: 1,
    };
    write_dataset(&dir.at("drawn"), &settings, 3, &counts, &mut |_, _| {}).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/surface");
    let model = model.to_str().unwrap();
    let flags = ["--html", "report", "--json", "--bootstrap", "20", "--quiet"];
    let ran = dir.run(&[&["evaluate", "--model", model, "drawn"][..], &flags].concat());
    let record = only(ran.is_fine());
    assert_eq!(record["counts"]["scored"], 11);
    assert_eq!(keys(&record["by_kind"]).len(), 7);
    assert_eq!(dir.files("report"), ["index.html"]);
    let page = std::fs::read_to_string(dir.at("report/index.html")).unwrap();
    for part in [
        "prefers-color-scheme: dark",
        "<svg",
        "Receiver operating characteristic",
        "Per-region overlap",
        "region precision",
        "Defects with the lowest scores",
        "Normal frames with the highest scores",
        "test/scratch/",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("<img").count(), 2 * 11);
    assert_eq!(page.matches("src=\"data:image/").count(), 2 * 11);
    for outside in ["http:", "https:", "<script", "<link", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains(&format!("{:.3}", number(&record, "pixel_AUPRO"))));
}

#[test]
fn a_kind_that_is_named_as_if_it_were_normal_is_named() {
    let dir = TestDir::new();
    data_set(&dir);
    for name in ["OK", "Normal"] {
        dir.frame(&format!("data/test/{name}/1.png"), None);
    }
    let ran = dir.run(&["evaluate", "--model", "model", "data", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for name in ["OK", "Normal"] {
        let hint = format!("{name}/ is taken for a kind of defect");
        assert_eq!(ran.stderr.matches(&hint).count(), 1, "{}", ran.stderr);
    }
}
