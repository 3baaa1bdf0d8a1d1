//! Measures the import of a whole repository against a loop of `skopeo inspect`, which is what a user would write
//! instead, and against the floor: three dependent round trips (tags, manifest, config).
//!
//! Prints a table for people and, as the last line, one JSON object of figures. All of it is measured in this run.
//! `IMAGESTREAM_BIN` names the program; default: `imagestream` beside this one.

mod measure;

use std::path::Path;
use std::process::ExitCode;

use imagestream_bench::registry::Registry;
use imagestream_bench::{Result, program};
use measure::{Figures, measure};
use serde_json::{Value, json};

/// The repository that the registry holds.
const REPOSITORY: &str = "bench/many";
/// Runs of ours, and of the floor; the median counts.
const RUNS: usize = 5;
/// Tags that the loop of skopeo reads where all would take minutes.
const SCALED: usize = 50;
/// The round trips that the ratios in the last line are about.
const LATENCY: u64 = 20;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let result = match arguments.next().as_ref().and_then(|first| first.to_str()) {
        None => bench(),
        Some(measure::MEASURE) => measure::run_and_report(arguments),
        Some(measure::FLOOR) => measure::three_round_trips(arguments),
        Some(_) => Err("usage: bench-import".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-import: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What one repository at one latency took.
struct Outcome {
    ours: Figures,
    floor: Figures,
    skopeo: Figures,
    requests: u64,
    tags: usize,
}

impl Outcome {
    fn over_floor(&self) -> f64 {
        self.ours.wall / self.floor.wall
    }

    /// Requests beyond one tag list and a manifest and a config per tag.
    fn requests_extra(&self) -> i64 {
        let needed = 1 + 2 * self.tags;
        i64::try_from(self.requests).unwrap_or(i64::MAX) - i64::try_from(needed).unwrap_or(i64::MAX)
    }
}

fn bench() -> Result<()> {
    let program = program()?;
    println!(
        "{:>4} tags {:>7} {:>9} {:>8} {:>8} {:>6} {:>6} {:>9} {:>9} {:>9} {:>8} {:>9}",
        "", "latency", "wall", "cpu", "peak", "reqs", "par.", "floor", "x floor", "skopeo", "cpu", "x skopeo"
    );
    let mut headline = Vec::new();
    let mut without_latency = Vec::new();
    let mut scaled = false;
    for tags in [50, 500] {
        let mut registry = Registry::start(tags)?;
        for latency in [0, LATENCY] {
            registry.set_latency(latency)?;
            let read = if latency > 0 { tags.min(SCALED) } else { tags };
            scaled |= read < tags;
            let outcome = compare(&program, &mut registry, tags, read, latency)?;
            match latency {
                LATENCY => headline.push(outcome),
                _ => without_latency.push(outcome),
            }
        }
    }
    println!("wall and peak of ours and floor: median of {RUNS} runs; cpu: user and system");
    println!("skopeo: one `skopeo inspect --no-tags` per tag, one after another");
    if scaled {
        println!("* the first {SCALED} tags, scaled to all");
    }
    let [fifty, five_hundred] = headline.as_slice() else {
        return Err("two repositories were to be measured".into());
    };
    println!(
        "{}",
        json!({
            "import50_over_floor": rounded(fifty.over_floor()),
            "import500_over_floor": rounded(five_hundred.over_floor()),
            "wall_over_skopeo": rounded(fifty.ours.wall / fifty.skopeo.wall),
            "cpu_over_skopeo": rounded(fifty.ours.cpu / fifty.skopeo.cpu),
            "peak_mb": rounded(five_hundred.ours.peak_mb),
            "requests_extra": five_hundred.requests_extra(),
            "import50_over_floor_without_latency": without_latency.first().map(|o| rounded(o.over_floor())),
            "import500_over_floor_without_latency": without_latency.last().map(|o| rounded(o.over_floor())),
        })
    );
    Ok(())
}

/// Measures ours, the floor and skopeo on one registry, and prints a row.
fn compare(
    program: &Path,
    registry: &mut Registry,
    tags: usize,
    read_by_skopeo: usize,
    latency: u64,
) -> Result<Outcome> {
    let repository = format!("{}/{REPOSITORY}", registry.host);
    let mut floors = Vec::new();
    let this = std::env::current_exe()?;
    for _ in 0..RUNS {
        floors.push(measure(&this, &[measure::FLOOR, &registry.host, REPOSITORY])?.0);
    }
    registry.take()?;
    let mut ours = Vec::new();
    let (mut requests, mut in_flight) = (0, 0);
    for _ in 0..RUNS {
        let arguments = [
            "import",
            &repository,
            "--all",
            "--max-tags",
            "-1",
            "--insecure",
            "-o",
            "json",
        ];
        let (figures, output) = measure(program, &arguments)?;
        let import: Value = serde_json::from_slice(&output)?;
        let images = import["status"]["repository"]["images"]
            .as_array()
            .map_or(0, |images| {
                images
                    .iter()
                    .filter(|item| item["image"]["dockerImageMetadata"]["Id"].is_string())
                    .count()
            });
        if images != tags {
            return Err(format!("{images} of {tags} tags were imported").into());
        }
        (requests, in_flight) = registry.take()?;
        ours.push(figures);
    }
    let mut skopeo = Figures::default();
    for at in 0..read_by_skopeo {
        let reference = format!(
            "docker://{repository}:{}",
            imagestream_testkit::content::version_tag(at)
        );
        let arguments = ["inspect", "--no-tags", "--tls-verify=false", &reference];
        skopeo.add(&measure(Path::new("skopeo"), &arguments)?.0);
    }
    registry.take()?;
    let scale = f64::from(u32::try_from(tags)?) / f64::from(u32::try_from(read_by_skopeo)?);
    skopeo.wall *= scale;
    skopeo.cpu *= scale;
    let outcome = Outcome {
        ours: Figures::median(&mut ours),
        floor: Figures::median(&mut floors),
        skopeo,
        requests,
        tags,
    };
    println!(
        "{tags:>9} {latency:>4} ms {:>6.0} ms {:>5.0} ms {:>5.1} MB {requests:>6} {in_flight:>6} {:>6.1} ms {:>9.2} {:>6.0} ms {:>5.0} ms {:>9.3}{}",
        outcome.ours.wall * 1e3,
        outcome.ours.cpu * 1e3,
        outcome.ours.peak_mb,
        outcome.floor.wall * 1e3,
        outcome.over_floor(),
        outcome.skopeo.wall * 1e3,
        outcome.skopeo.cpu * 1e3,
        outcome.ours.wall / outcome.skopeo.wall,
        if read_by_skopeo < tags { " *" } else { "" },
    );
    Ok(outcome)
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
