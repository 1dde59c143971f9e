//! Checks the documentation against the code.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

use checkout::ShopCode;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use stepwell::ErrorCode;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Adds the files below a folder with this extension, except build output and files that git ignores.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && (!name.starts_with('.') || name == ".github") {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

// ---- Alarms and the runbook -------------------------------------------------------------------------------------------

/// The names of the template's alarms, without the stage. An alarm on a queue has the queue's name.
fn alarms(template: &str) -> BTreeSet<String> {
    let named = |line: &str, property: &str| -> Option<String> {
        let name = line.trim().strip_prefix(property)?.trim().strip_prefix("!Sub stepwell-${Stage}-")?;
        Some(name.to_owned())
    };
    let lines: Vec<&str> = template.lines().collect();
    let mut found: BTreeSet<String> = lines.iter().filter_map(|line| named(line, "AlarmName:")).collect();
    for line in &lines {
        let queue = line.trim().strip_prefix("AlarmName: !GetAtt ").and_then(|rest| rest.strip_suffix(".QueueName"));
        if let Some(queue) = queue {
            let resource = lines.iter().position(|line| *line == format!("  {queue}:")).unwrap();
            found.insert(lines[resource..].iter().find_map(|line| named(line, "QueueName:")).unwrap());
        }
    }
    let declared = template.matches("AlarmName:").count();
    assert!(declared > 3 && found.len() == declared, "each of {declared} alarms is found: {found:?}");
    found
}

#[test]
fn every_alarm_has_a_section_in_the_runbook_and_no_section_is_without_alarm() {
    let runbook = text("infra/RUNBOOK.md");
    let sections: Vec<&str> = runbook.split("\n## ").skip(1).collect();
    let headings: BTreeSet<String> = sections
        .iter()
        .filter_map(|section| section.lines().next().unwrap().strip_prefix("stepwell-STAGE-"))
        .map(str::to_owned)
        .collect();
    assert_eq!(headings.len(), sections.len(), "a section's heading is an alarm's name, and no two are the same");
    // Alarms of one kind have one section. The names of all but the first end in a number.
    let alarms = alarms(&text("infra/template.yaml"));
    let kinds = alarms.iter().map(|name| name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned());
    assert_eq!(headings, kinds.collect());
    for section in sections {
        for part in
            ["**What it means.**", "**What the customer sees.**", "**First.**\n\n```sh\n", "**Next.**", "**Over when**"]
        {
            assert!(section.contains(part), "{part} is missing in {}", section.lines().next().unwrap());
        }
    }
}

#[test]
fn every_log_in_the_runbook_is_in_the_template() {
    const GROUP: &str = "/aws/lambda/stepwell-STAGE-";
    let (runbook, template) = (text("infra/RUNBOOK.md"), text("infra/template.yaml"));
    let word =
        |at: usize| runbook[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || "/-_".contains(*c)).collect();
    let named: BTreeSet<String> = runbook.match_indices(GROUP).map(|(at, _)| word(at)).collect();
    assert!(named.len() > 3, "{named:?}");
    for group in named {
        let line = format!("LogGroupName: !Sub {}\n", group.replace("STAGE", "${Stage}"));
        assert!(template.contains(&line), "{group}");
    }
}

// ---- Error codes ------------------------------------------------------------------------------------------------------

/// The modules that a source declares for tests only.
fn test_modules(code: &str) -> Vec<String> {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let declared =
        lines.windows(2).filter(|pair| pair[0].starts_with("#[cfg(test)]") || pair[0].starts_with("#[cfg(any(test,"));
    let named = declared.filter_map(|pair| pair[1].rsplit_once("mod ")?.1.strip_suffix(';'));
    named.map(str::to_owned).collect()
}

/// The shipped code below a folder: without tests and comments.
fn shipped(folder: &str) -> String {
    let folder = repository().join(folder);
    let mut found = Vec::new();
    files(&folder, "rs", &mut found);
    let sources: Vec<(PathBuf, String)> =
        found.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
    let tests: BTreeSet<String> = sources.iter().flat_map(|(_, code)| test_modules(code)).collect();
    let is_test = |path: &Path| {
        let mut parts = path.strip_prefix(&folder).unwrap().components().map(|part| Path::new(part.as_os_str()));
        parts.any(|part| tests.contains(part.file_stem().unwrap().to_str().unwrap()))
    };
    let mut all = String::new();
    for (_, code) in sources.iter().filter(|(path, _)| !is_test(path)) {
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        all.extend(code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")));
    }
    assert!(all.len() > 500, "{} is read", folder.display());
    all
}

#[test]
fn shipped_code_uses_only_listed_error_codes() {
    for folder in [
        "functions",
        "shared/checkout/src",
        "shared/checkout_aws/src",
        "shared/stepwell/src",
        "shared/stepwell_aws/src",
    ] {
        let code = shipped(folder);
        for call in ["permanent(\"", "retryable(\""] {
            let at = code.find(call).map(|at| code[at..].lines().next().unwrap_or_default().to_owned());
            assert_eq!(at, None, "{folder}: add the code to the list of its crate, and use StepError::new");
        }
    }
}

#[test]
fn each_step_reports_its_listed_error_codes() {
    let mut reports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in fs::read_dir(repository().join("functions/checkout")).unwrap() {
        let step = entry.unwrap().file_name().into_string().unwrap();
        let mut code = shipped(&format!("functions/checkout/{step}/src"));
        // Its rule is there, because the API says by it what a cart costs.
        if step == "validate_cart" {
            code += &text("shared/checkout/src/cart.rs");
        }
        for (at, _) in code.match_indices("ShopCode::") {
            let variant = code[at + "ShopCode::".len()..].chars().take_while(char::is_ascii_alphanumeric).collect();
            reports.entry(variant).or_default().insert(step.clone());
        }
    }
    assert!(reports.len() > 20, "the steps are read");
    let of_all_steps = |by: &str| by.starts_with("every step");
    for code in ShopCode::ALL {
        let by = code.entry().reported_by;
        let said: BTreeSet<String> = by.split(", ").filter(|by| !of_all_steps(by)).map(str::to_owned).collect();
        let found = reports.remove(&format!("{code:?}")).unwrap_or_default();
        assert_eq!(said, found, "{}: by those that the list names, by those that use it", code.as_str());
    }
}

// ---- Links and versions -----------------------------------------------------------------------------------------------

#[test]
fn every_link_to_a_file_resolves() {
    let mut papers = Vec::new();
    files(&repository(), "md", &mut papers);
    assert!(papers.len() > 8);
    let mut broken = Vec::new();
    for paper in papers {
        let text = fs::read_to_string(&paper).unwrap();
        for (at, _) in text.match_indices("](") {
            let target: String = text[at + 2..].chars().take_while(|c| *c != ')').collect();
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !target.contains("://") && !paper.parent().unwrap().join(path).exists() {
                broken.push(format!("{}: {target}", paper.display()));
            }
        }
    }
    assert_eq!(broken, [""; 0]);
}

#[test]
fn ci_uses_the_rust_version_of_the_workspace() {
    let manifest: toml::Table = toml::from_str(&text("Cargo.toml")).unwrap();
    let wanted = manifest["workspace"]["package"]["rust-version"].as_str().unwrap();
    let line = format!("RUSTUP_TOOLCHAIN: \"{wanted}.0\"");
    assert!(text(".github/workflows/ci.yml").contains(&line), "{line}");
}
