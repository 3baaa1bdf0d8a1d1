//! What `imagestream serve` does by itself, from the configuration file.

use std::collections::HashSet;
use std::time::Duration;

use imagestream_server::settings::{ControllerSettings, Receiver, ReceiverFormat, ScheduledSettings};

use super::file::{self, ControllersSection, FormatName, NotificationsSection, ScheduledSection};
use crate::exit::Error;

/// Longest interval between two checks, and longest quiet period.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// Longest name of a receiver: it is a part of a path.
const MAX_NAME: usize = 63;

/// Brings the sections `controllers` and `scheduled` together with their defaults.
///
/// # Errors
/// [`Error::Usage`] for what makes no sense.
pub(super) fn settings(
    controllers: &ControllersSection,
    scheduled: &ScheduledSection,
) -> Result<ControllerSettings, Error> {
    let default = ControllerSettings::default();
    let minimum_interval = duration(
        "scheduled.minimumInterval",
        scheduled.minimum_interval.as_deref(),
        default.scheduled.minimum_interval,
    )?;
    let interval = match &scheduled.interval {
        // A longer minimum alone means that nothing is checked more often.
        None => default.scheduled.interval.max(minimum_interval),
        Some(text) => file::duration("scheduled.interval", text)?,
    };
    if interval < minimum_interval || interval > LONGEST {
        return Err(Error::Usage(format!(
            "scheduled.interval: {interval:?}: expected at least scheduled.minimumInterval, which is {minimum_interval:?}, and at most 31 days"
        )));
    }
    let checks_per_minute_per_host = scheduled
        .checks_per_minute_per_host
        .unwrap_or(default.scheduled.checks_per_minute_per_host);
    if checks_per_minute_per_host == 0 {
        return Err(Error::Usage(
            "scheduled.checksPerMinutePerHost: expected at least 1; to switch checks off, set scheduled.enabled to false"
                .into(),
        ));
    }
    Ok(ControllerSettings {
        enabled: controllers.enabled.unwrap_or(default.enabled),
        quiet_period: duration(
            "controllers.quietPeriod",
            controllers.quiet_period.as_deref(),
            default.quiet_period,
        )?,
        scheduled: ScheduledSettings {
            enabled: scheduled.enabled.unwrap_or(default.scheduled.enabled),
            interval,
            minimum_interval,
            checks_per_minute_per_host,
        },
    })
}

/// Who may tell of pushes.
///
/// # Errors
/// [`Error::Usage`] for names that are no part of a path, or that two have.
pub(super) fn receivers(section: NotificationsSection) -> Result<Vec<Receiver>, Error> {
    let mut names = HashSet::new();
    let receivers = section.receivers.into_iter().enumerate();
    receivers
        .map(|(index, receiver)| {
            let wrong = |problem: &str| {
                Err(Error::Usage(format!(
                    "notifications.receivers[{index}].name: {:?}: {problem}",
                    receiver.name
                )))
            };
            let is_name = |character: char| {
                character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
            };
            if receiver.name.is_empty()
                || receiver.name.len() > MAX_NAME
                || !receiver.name.chars().all(is_name)
            {
                return wrong("expected up to 63 small letters, digits and hyphens");
            }
            if !names.insert(receiver.name.clone()) {
                return wrong("another receiver has this name");
            }
            Ok(Receiver {
                name: receiver.name,
                format: match receiver.format {
                    FormatName::Distribution => ReceiverFormat::Distribution,
                    FormatName::DockerHub => ReceiverFormat::DockerHub,
                    FormatName::Quay => ReceiverFormat::Quay,
                    FormatName::Harbor => ReceiverFormat::Harbor,
                    FormatName::Github => ReceiverFormat::Github,
                },
                secret_file: receiver.secret_file,
                registry: receiver.registry.filter(|host| !host.is_empty()),
            })
        })
        .collect()
}

fn duration(name: &str, text: Option<&str>, default: Duration) -> Result<Duration, Error> {
    let Some(text) = text else {
        return Ok(default);
    };
    let duration = file::duration(name, text)?;
    if duration > LONGEST {
        return Err(Error::Usage(format!(
            "{name}: {text:?}: expected at most 31 days"
        )));
    }
    Ok(duration)
}
