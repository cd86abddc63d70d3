//! Rates and pauses over time as an SVG, a line for each scheduler.

use std::time::Duration;

use guywire_lab::measure::SAMPLE;
use plotters::prelude::*;
use plotters::style::FontFamily;
use thiserror::Error;

use crate::measured::Measured;

/// Width and height in pixels.
const SIZE: (u32, u32) = (960, 640);
const FONT: (FontFamily<'static>, u32) = (FontFamily::SansSerif, 14);

/// Distinct on white, for colour-blind eyes too (Okabe and Ito, "Color Universal Design", 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// The plot could not be drawn.
#[derive(Debug, Error)]
#[error("cannot draw the plot: {0}")]
pub struct PlotError(String);

/// Draws what was measured: above rates, below pauses.
///
/// # Errors
/// The drawing library refuses.
pub fn svg(title: &str, runs: &[Measured]) -> Result<String, PlotError> {
    let mut text = String::new();
    draw(title, runs, &mut text).map_err(|error| PlotError(error.to_string()))?;
    Ok(text)
}

type Drawn<'a> = Result<(), Box<dyn std::error::Error + 'a>>;

fn draw<'a>(title: &str, runs: &[Measured], text: &'a mut String) -> Drawn<'a> {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, FONT)?;
    let (above, below) = root.split_vertically(SIZE.1 / 2);
    let seconds = runs.iter().map(|run| run.seconds).fold(0.1, f64::max);
    let rates = runs.iter().map(|run| {
        let mid = SAMPLE / 2;
        let points = (0..).map(move |at| (mid + SAMPLE * at).as_secs_f64());
        (run.scheduler.as_str(), points.zip(run.rates()).collect())
    });
    panel(&above, seconds, "Mbit/s", rates.collect())?;
    let pauses = runs
        .iter()
        .map(|run| (run.scheduler.as_str(), longest(&run.pauses(), run.seconds)));
    panel(&below, seconds, "longest pause, ms", pauses.collect())?;
    root.present()?;
    Ok(())
}

/// The longest pause, in ms, that was going on in each 100 ms.
fn longest(pauses: &[(f64, f64)], seconds: f64) -> Vec<(f64, f64)> {
    let step = SAMPLE.as_secs_f64();
    let count = (seconds / step).ceil() as usize;
    let mut most = vec![0.0_f64; count];
    for &(at, pause) in pauses {
        let (first, last) = ((at / step) as usize, ((at + pause) / step) as usize);
        for slot in most.iter_mut().take(last + 1).skip(first) {
            *slot = slot.max(pause * 1e3);
        }
    }
    let times = (0..).map(|at| (Duration::from_secs_f64(step) * at).as_secs_f64() + step / 2.0);
    times.zip(most).collect()
}

type Series<'a> = Vec<(&'a str, Vec<(f64, f64)>)>;

fn panel<'a>(
    area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    seconds: f64,
    unit: &str,
    series: Series<'_>,
) -> Drawn<'a> {
    let points = series.iter().flat_map(|(_, points)| points);
    let most = points.map(|point| point.1).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..seconds, 0.0..most * 1.05)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(FONT)
        .x_desc("s")
        .y_desc(unit)
        .draw()?;
    for ((name, points), colour) in series.into_iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(points, colour))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .label_font(FONT)
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_shows_in_every_sample_that_it_touches() {
        let drawn = longest(&[(0.05, 0.01), (0.15, 0.2)], 0.5);
        let heights: Vec<f64> = drawn.iter().map(|point| point.1.round()).collect();
        assert_eq!(heights, [10.0, 200.0, 200.0, 200.0, 0.0]);
    }
}
