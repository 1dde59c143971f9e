//! The workflow file with a step more, all else as people have written it.
//!
//! The file is changed as text, line by line, so that comments and formatting stay. What comes of it is read and held against
//! what was meant; a file that is written in another way than this understands is refused, not spoilt.

use super::{
    NewStep,
    graph::{Moved, Wiring},
};
use crate::findings::Finding;
use serde_json::{Value, json};
use std::path::Path;

/// What to do about a file that this does not understand.
pub(super) const BY_HAND: &str = "Put the step into the file by hand, and run this again: it makes all else";

const LIST: &str = "step_templates";
const ONE: &str = "depends_on_step";
const SEVERAL: &str = "depends_on_steps";

/// The text of the file with the new step.
pub(super) fn with_step(file: &Path, old: &str, wanted: &NewStep, wiring: &Wiring) -> Result<String, Finding> {
    let not_understood = |why: &str| Finding::new(file, format!("cannot be changed here: {why}"), BY_HAND);
    let before = parse(old).ok_or_else(|| not_understood("it is not YAML"))?;
    let names = names(&before);
    let mut parts = Parts::of(old)
        .ok_or_else(|| not_understood("`step_templates` is not written as a list with a line for each `-`"))?;
    if parts.items.len() != names.len() {
        return Err(not_understood("a line of a step looks like the beginning of another one"));
    }
    for moved in &wiring.moved {
        let place = names.iter().position(|name| *name == moved.step);
        let item = place.and_then(|place| parts.items.get_mut(place));
        let changed = item.and_then(|item| item.depend(moved));
        changed.ok_or_else(|| {
            not_understood(&format!("the dependencies of `{}` are not on lines of their own", moved.step))
        })?;
    }
    let place = place(&names, wiring);
    parts.insert(place, &entry(wanted, wiring, parts.indent));
    let text = parts.text();
    let expected = expected(before, &names, wanted, wiring, place);
    let found = parse(&text).map(with_dependencies_alike);
    if found.as_ref() != Some(&with_dependencies_alike(expected)) {
        return Err(not_understood("it would not say what is meant"));
    }
    Ok(text)
}

fn parse(text: &str) -> Option<Value> {
    serde_saphyr::from_str(text).ok()
}

fn templates(workflow: &mut Value) -> Option<&mut Vec<Value>> {
    workflow.get_mut(LIST)?.as_array_mut()
}

fn names(workflow: &Value) -> Vec<String> {
    let steps = workflow.get(LIST).and_then(Value::as_array).into_iter().flatten();
    steps.map(|step| step.get("name").and_then(Value::as_str).unwrap_or_default().to_owned()).collect()
}

/// Behind the last step that the new one waits for; where it waits for none, before the first that waits for it.
fn place(names: &[String], wiring: &Wiring) -> usize {
    let of = |wanted: &String| names.iter().position(|name| name == wanted);
    let last = wiring.depends_on.iter().filter_map(of).max();
    let first = wiring.moved.iter().filter_map(|moved| of(&moved.step)).min();
    last.map(|last| last + 1).or(first).unwrap_or(names.len())
}

/// The new step's lines.
fn entry(wanted: &NewStep, wiring: &Wiring, indent: usize) -> Vec<String> {
    let mut keys = vec![format!("name: {}", wanted.step), format!("description: {}", quoted(&wanted.what()))];
    if !wiring.depends_on.is_empty() {
        keys.push(dependencies(&wiring.depends_on));
    }
    keys.push("default_retryable: true".to_owned());
    keys.push("default_retry_limit: 3".to_owned());
    keys.push("handler_config: { timeout_seconds: 30 }".to_owned());
    keys.extend(
        wanted
            .compensation
            .iter()
            .map(|name| format!("compensation: {{ name: {name}, description: {} }}", quoted(&wanted.what_undoes()))),
    );
    let margin = " ".repeat(indent);
    keys.iter()
        .enumerate()
        .map(|(place, key)| format!("{margin}{} {key}\n", if place == 0 { "-" } else { " " }))
        .collect()
}

/// A text as YAML reads it, whatever it holds: in quotes, unless it is plain words.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " _-".contains(c);
    let words = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.contains(' ') && text.chars().all(plain);
    if words && text.trim() == text { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

fn dependencies(names: &[String]) -> String {
    match names {
        [one] => format!("{ONE}: {one}"),
        names => format!("{SEVERAL}: [{}]", names.join(", ")),
    }
}

/// What the file has to say afterwards.
fn expected(mut workflow: Value, names: &[String], wanted: &NewStep, wiring: &Wiring, place: usize) -> Value {
    let mut step = json!({
        "name": wanted.step, "description": wanted.what(), SEVERAL: wiring.depends_on, "default_retryable": true,
        "default_retry_limit": 3, "handler_config": {"timeout_seconds": 30},
    });
    if let (Some(name), Some(step)) = (&wanted.compensation, step.as_object_mut()) {
        step.insert("compensation".to_owned(), json!({"name": name, "description": wanted.what_undoes()}));
    }
    if let Some(steps) = templates(&mut workflow) {
        for (step, name) in steps.iter_mut().zip(names) {
            let moved = wiring.moved.iter().find(|moved| moved.step == *name);
            if let (Some(moved), Some(step)) = (moved, step.as_object_mut()) {
                step.remove(ONE);
                step.insert(SEVERAL.to_owned(), json!(moved.to));
            }
        }
        steps.insert(place.min(steps.len()), step);
    }
    workflow
}

/// With the two ways to name dependencies as one.
fn with_dependencies_alike(mut workflow: Value) -> Value {
    for step in templates(&mut workflow).into_iter().flatten().filter_map(Value::as_object_mut) {
        let one = step.remove(ONE).into_iter();
        let several = step.remove(SEVERAL).and_then(|names| names.as_array().cloned());
        let mut names: Vec<String> =
            one.chain(several.into_iter().flatten()).filter_map(|name| name.as_str().map(str::to_owned)).collect();
        names.sort_unstable();
        step.insert(SEVERAL.to_owned(), json!(names));
    }
    workflow
}

/// A workflow file by its lines: what comes before the steps, the steps, what comes after them.
struct Parts {
    head: Vec<String>,
    items: Vec<Item>,
    tail: Vec<String>,
    /// How many spaces come before a step's `-`.
    indent: usize,
}

/// A step's lines.
struct Item {
    body: Vec<String>,
    /// Blank lines and comments between it and what follows. A comment belongs to what follows.
    gap: Vec<String>,
}

fn is_blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

impl Parts {
    fn of(text: &str) -> Option<Self> {
        let mut lines =
            text.split_inclusive('\n').map(|line| format!("{}\n", line.trim_end_matches(['\n', '\r']))).peekable();
        let mut head = Vec::new();
        loop {
            let line = lines.next()?;
            let key = line.strip_prefix(LIST).and_then(|rest| rest.strip_prefix(':')).map(is_blank);
            head.push(line);
            match key {
                Some(true) => break,
                Some(false) => return None,
                None => {}
            }
        }
        while let Some(line) = lines.next_if(|line| is_blank(line)) {
            head.push(line);
        }
        let margin = indent(lines.peek()?);
        let starts = |line: &str| indent(line) == margin && line.trim_start().starts_with("- ");
        let mut items: Vec<Item> = Vec::new();
        let mut tail = Vec::new();
        for line in lines.by_ref() {
            if !is_blank(&line) && (starts(&line) || items.is_empty()) {
                if !starts(&line) {
                    return None;
                }
                items.push(Item { body: vec![line], gap: Vec::new() });
            } else if !is_blank(&line) && indent(&line) <= margin {
                tail.push(line);
                break;
            } else {
                let item = items.last_mut()?;
                // A comment that stands as deep as the step's keys is the step's.
                if is_blank(&line) && (line.trim().is_empty() || indent(&line) <= margin || !item.gap.is_empty()) {
                    item.gap.push(line);
                } else {
                    item.body.append(&mut item.gap);
                    item.body.push(line);
                }
            }
        }
        tail.extend(lines);
        Some(Self { head, items, tail, indent: margin })
    }

    /// Puts lines between the steps, so far from its neighbours as they are from each other.
    fn insert(&mut self, place: usize, lines: &[String]) {
        let apart = self.items.iter().take(self.items.len().saturating_sub(1)).any(|item| !item.gap.is_empty());
        let blank: Vec<String> = if apart { vec!["\n".to_owned()] } else { Vec::new() };
        let body = lines.to_vec();
        match place.checked_sub(1).and_then(|before| self.items.get_mut(before)) {
            Some(before) => {
                let gap = std::mem::replace(&mut before.gap, blank);
                self.items.insert(place, Item { body, gap });
            }
            None => self.items.insert(0, Item { body, gap: blank }),
        }
    }

    fn text(self) -> String {
        let items = self.items.into_iter().flat_map(|item| item.body.into_iter().chain(item.gap));
        self.head.into_iter().chain(items).chain(self.tail).collect()
    }
}

impl Item {
    /// Changes what the step waits for, where that stands on lines of its own.
    fn depend(&mut self, moved: &Moved) -> Option<()> {
        let keys = self.body.first().map(|line| indent(line) + "- ".len())?;
        let is_key = |line: &str, key: &str| {
            line.get(keys..).is_some_and(|rest| rest.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')))
        };
        let found: Vec<usize> = (0..self.body.len())
            .filter(|&at| self.body.get(at).is_some_and(|line| is_key(line, ONE) || is_key(line, SEVERAL)))
            .collect();
        match found.as_slice() {
            [] => {
                // Right after the step's name, as the first of its keys is most often.
                let line = format!("{}{}\n", " ".repeat(keys), dependencies(&moved.to));
                self.body.insert(1, line);
            }
            [at] => {
                let line = self.body.get(*at)?.clone();
                let (_, value) = line.split_once(':')?;
                let (value, comment) =
                    value.split_once(" #").map_or((value, None), |(value, comment)| (value, Some(comment)));
                if value.trim().is_empty() {
                    return self.depend_in_list(*at, moved);
                }
                let start = line.get(..keys)?;
                let comment = comment.map(|comment| format!(" #{}", comment.trim_end())).unwrap_or_default();
                *self.body.get_mut(*at)? = format!("{start}{}{comment}\n", dependencies(&moved.to));
            }
            _ => return None,
        }
        Some(())
    }

    /// The same where the dependencies are a list with a line for each.
    fn depend_in_list(&mut self, key: usize, moved: &Moved) -> Option<()> {
        let mut added = moved.to.iter().filter(|name| !moved.from.contains(name));
        let mut last = key;
        let mut gone = Vec::new();
        for (at, line) in self.body.iter_mut().enumerate().skip(key + 1) {
            if is_blank(line) {
                continue;
            }
            let Some(name) = line.trim_start().strip_prefix("- ") else { break };
            let name = name.split(" #").next().unwrap_or_default().trim().trim_matches(['\'', '"']).to_owned();
            if !moved.to.contains(&name) {
                match added.next() {
                    Some(new) => *line = line.replacen(&name, new, 1),
                    None => gone.push(at),
                }
            }
            last = at;
        }
        let margin = self.body.get(last).filter(|_| last > key).map(|line| indent(line))?;
        for name in added {
            self.body.insert(last + 1, format!("{}- {name}\n", " ".repeat(margin)));
        }
        gone.into_iter().rev().for_each(|at| drop(self.body.remove(at)));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell::Workflow;
    use test_case::test_case;

    /// The file with `new`, which waits for `after`.
    fn with_new(file: &str, after: &str, before: &[&str]) -> Result<String, String> {
        let after = after.split_whitespace().map(str::to_owned).collect();
        let before = before.iter().map(|&name| name.to_owned()).collect();
        let wanted = NewStep { step: "new".to_owned(), after, before, ..NewStep::default() };
        let plan = Workflow::from_yaml(file).unwrap().plan().clone();
        let wiring = Wiring::new(&plan, &wanted);
        with_step(Path::new("w.yaml"), file, &wanted, &wiring).map_err(|finding| finding.problem)
    }

    const REST: &str =
        "default_retryable: true\n    default_retry_limit: 3\n    handler_config: { timeout_seconds: 30 }\n";

    #[test]
    fn comments_and_blank_lines_stay_where_they_are() {
        let file = "# head\nname: w\nstep_templates:\n  # first\n  - name: a # the cart\n    # deep\n\n  # second\n  - name: b\n    \
                    depends_on_step: a  # why\n\n# tail\nredrives: 1\n";
        let expected = format!(
            "# head\nname: w\nstep_templates:\n  # first\n  - name: a # the cart\n    # deep\n\n  - name: new\n    description: 'New'\n    \
             depends_on_step: a\n    {REST}\n  # second\n  - name: b\n    depends_on_step: new # why\n\n# tail\nredrives: 1\n"
        );
        assert_eq!(with_new(file, "a", &[]).unwrap(), expected);
    }

    #[test]
    fn last_step_is_followed_without_a_gap_where_the_others_have_none() {
        let file = "name: w\nstep_templates:\n- name: a\n- name: b\n  depends_on_steps: [a]\n\nredrives: 1\n";
        let expected = "name: w\nstep_templates:\n- name: a\n- name: b\n  depends_on_steps: [a]\n- name: new\n  description: 'New'\n  \
                        depends_on_step: b\n  default_retryable: true\n  default_retry_limit: 3\n  handler_config: { timeout_seconds: 30 }\n\nredrives: 1\n";
        assert_eq!(with_new(file, "b", &[]).unwrap(), expected);
    }

    #[test_case("    depends_on_steps: [x, a]\n", "    depends_on_steps: [new, x]\n"; "in brackets")]
    #[test_case("    depends_on_steps:\n      - a\n      # not without\n      - x\n", "    depends_on_steps:\n      - new\n      # not without\n      - x\n"; "a line each")]
    #[test_case("    depends_on_step: x\n", "    depends_on_steps: [new, x]\n"; "another one")]
    #[test_case("", "    depends_on_step: new\n"; "none")]
    fn dependencies_are_changed_as_they_are_written(old: &str, new: &str) {
        let file = format!("name: w\nstep_templates:\n  - name: a\n  - name: x\n  - name: b\n{old}    backoff: {{}}\n");
        let text = with_new(&file, "a", &["b"]).unwrap();
        assert!(text.ends_with(&format!("  - name: b\n{new}    backoff: {{}}\n")), "{text}");
    }

    #[test]
    fn step_that_waits_for_none_stands_before_the_one_that_waits_for_it() {
        let text = with_new("name: w\nstep_templates:\n  - name: a\n", "", &["a"]).unwrap();
        assert!(text.contains("step_templates:\n  - name: new\n"), "{text}");
        assert!(text.ends_with("  - name: a\n    depends_on_step: new\n"), "{text}");
    }

    #[test_case("name: w\nstep_templates: [{name: a}]\n", "a line for each `-`"; "a list in brackets")]
    #[test_case("name: w\nstep_templates:\n  - {name: a}\n  - {name: b, depends_on_step: a}\n", "it would not say what is meant"; "steps in braces")]
    #[test_case("name: w\nstep_templates:\n  - name: a\n  - name: b\n    depends_on_steps: [\n      a]\n", "it would not say what is meant"; "brackets over two lines")]
    fn file_that_is_not_understood_is_refused(file: &str, problem: &str) {
        let told = with_new(file, "a", &[]).unwrap_err();
        assert!(told.contains(problem), "{told}");
    }
}
