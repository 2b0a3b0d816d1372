//! `resume`: the names of `sub --resume`, how far each has read, and an end to one. Needs no broker.

use crate::base::ids::Offset;
use crate::base::names::{Name, TopicName};
use crate::cli::access::Base;
use crate::cli::args::Identity;
use crate::cli::error::CliError;
use crate::cli::output::{Output, table};
use crate::cli::resume;
use crate::cli::resume::slots::Mark;

pub fn run(
    base: &Base,
    name: Option<&Name>,
    forget: bool,
    to: Option<(TopicName, u64)>,
    identity: &Identity,
) -> Result<(), CliError> {
    let state = super::trust::state(base, identity)?;
    if let Some((name, (topic, next))) = name.zip(to) {
        return resume::go_on_at(&state, name, &topic, Offset(next));
    }
    if let Some(name) = name.filter(|_| forget) {
        return resume::forget(&state, name);
    }
    let names = match name {
        Some(name) => vec![name.clone()],
        None => resume::names(&state)?,
    };
    let mut rows = Vec::new();
    for name in names {
        rows.extend(rows_of(&name, &resume::look(&state, &name)?));
    }
    let mut output = Output::new();
    table(&rows).iter().try_for_each(|line| output.line(line))?;
    output.flush()
}

/// Name, topic, and the offset that comes next.
fn rows_of(name: &Name, places: &[(TopicName, Mark)]) -> Vec<Vec<String>> {
    if places.is_empty() {
        return vec![vec![name.to_string(), "-".to_owned(), String::new()]];
    }
    let row = |(topic, mark): &(TopicName, Mark)| {
        vec![name.to_string(), topic.to_string(), format!("next offset {}", mark.stand.next)]
    };
    places.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Incarnation;
    use crate::client::Stand;

    #[test]
    fn a_name_that_has_read_nothing_is_listed_too() {
        let (name, topic) = (Name::parse("log").expect("good"), TopicName::parse("a/b").expect("good"));
        let mark = Mark { topic: None, stand: Stand { incarnation: Incarnation(1), next: Offset(7) } };
        assert_eq!(rows_of(&name, &[(topic, mark)]), [["log", "a/b", "next offset 7"]]);
        assert_eq!(rows_of(&name, &[]), [["log", "-", ""]]);
    }
}
