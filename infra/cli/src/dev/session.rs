//! What `stepwell dev` does next. It knows neither processes nor files, so tests can drive it.

use std::{mem, ops::RangeInclusive};

/// The exit codes of the program that are about its data or its ports. The first program that ends so ends the command: a person has to
/// mend that. Once a program has had them, the same code is as a rule about a change, such as an error in `schema.sql` or another version
/// of it, and the next change may mend it.
const REFUSALS: RangeInclusive<i32> = 3..=8;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A source has changed.
    Changed,
    /// The build has ended.
    Built(BuildEnd),
    /// The program has ended, with this exit code unless by a signal; or it could not be started.
    Ended(Option<i32>),
    /// A person wants to stop.
    Stop,
}

/// How a build has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BuildEnd {
    /// The program is another one than was started last.
    New,
    /// The program is the one that was started last.
    Same,
    /// There are errors.
    Failed,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Begin a build.
    Build,
    /// Break off the build. Its end is an event all the same.
    StopBuild,
    /// Start the program that was built last.
    Start,
    /// Tell the program to stop. Its end is an event.
    Stop,
    /// End with this exit code. No build and no program are left.
    End(u8),
}

/// The builds and programs of one run of the command. There is at most one of each at a time.
#[derive(Debug, Default)]
pub(super) struct Session {
    build: Building,
    program: Program,
    /// Whether a program has ended.
    had_one: bool,
    /// The exit code of the command, once it is known.
    ends_with: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Building {
    #[default]
    None,
    /// It runs, and has seen every change.
    Runs,
    /// It runs, and may have missed a change.
    Outdated,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Program {
    #[default]
    None,
    Runs,
    /// It was told to stop, and the next one starts after its end: it holds the data and the ports until then.
    IsReplaced,
}

impl Session {
    /// What to do after this event, in this order.
    pub(super) fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = match event {
            Event::Changed => self.changed(),
            Event::Built(built) => self.built(built),
            Event::Ended(code) => self.ended(code),
            // Also for the second time: then the program ends at once.
            Event::Stop => self.end(0),
        };
        let is_over = self.build == Building::None && self.program == Program::None;
        actions.extend(self.ends_with.filter(|_| is_over).map(Action::End));
        actions
    }

    /// Whether no program runs, and only a change makes one run.
    pub(super) fn waits_for_a_change(&self) -> bool {
        self.program == Program::None && self.build == Building::None && self.ends_with.is_none()
    }

    fn changed(&mut self) -> Vec<Action> {
        if self.ends_with.is_some() {
            return Vec::new();
        }
        match mem::replace(&mut self.build, Building::Outdated) {
            Building::None => {
                self.build = Building::Runs;
                vec![Action::Build]
            }
            Building::Runs | Building::Outdated => Vec::new(),
        }
    }

    fn built(&mut self, built: BuildEnd) -> Vec<Action> {
        let was = mem::take(&mut self.build);
        if self.ends_with.is_some() {
            return Vec::new();
        }
        let mut actions = Vec::new();
        match (built, self.program) {
            (BuildEnd::New | BuildEnd::Same, Program::None) => {
                self.program = Program::Runs;
                actions.push(Action::Start);
            }
            (BuildEnd::New, Program::Runs) => {
                self.program = Program::IsReplaced;
                actions.push(Action::Stop);
            }
            (BuildEnd::Failed, _) | (BuildEnd::Same, _) | (BuildEnd::New, Program::IsReplaced) => {}
        }
        if was == Building::Outdated {
            self.build = Building::Runs;
            actions.push(Action::Build);
        }
        actions
    }

    fn ended(&mut self, code: Option<i32>) -> Vec<Action> {
        let was = mem::take(&mut self.program);
        let is_first = !mem::replace(&mut self.had_one, true);
        if self.ends_with.is_some() {
            return Vec::new();
        }
        let refusal = code.filter(|code| is_first && REFUSALS.contains(code)).and_then(|code| u8::try_from(code).ok());
        if let Some(code) = refusal {
            return self.end(code);
        }
        if was == Program::IsReplaced {
            self.program = Program::Runs;
            return vec![Action::Start];
        }
        Vec::new()
    }

    fn end(&mut self, code: u8) -> Vec<Action> {
        self.ends_with.get_or_insert(code);
        let program = (self.program != Program::None).then_some(Action::Stop);
        let build = (self.build != Building::None).then_some(Action::StopBuild);
        program.into_iter().chain(build).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Action::{Build, End, Start, StopBuild},
        Event::{Built, Changed, Ended},
        *,
    };

    /// A session in which the first program runs.
    fn running() -> Session {
        let mut session = Session::default();
        assert_eq!(session.on(Changed), [Build]);
        assert_eq!(session.on(Built(BuildEnd::New)), [Start]);
        session
    }

    #[test]
    fn new_program_starts_when_the_old_one_has_ended() {
        let mut session = running();
        assert_eq!(session.on(Changed), [Build]);
        assert_eq!(session.on(Built(BuildEnd::New)), [Action::Stop]);
        // Another build, while the old program ends, replaces nothing: the newest is started.
        assert_eq!(session.on(Changed), [Build]);
        assert_eq!(session.on(Built(BuildEnd::New)), []);
        assert_eq!(session.on(Ended(Some(0))), [Start]);
    }

    #[test]
    fn program_goes_on_after_a_failed_build_and_after_one_that_changes_nothing() {
        let mut session = running();
        for built in [BuildEnd::Failed, BuildEnd::Same] {
            assert_eq!(session.on(Changed), [Build]);
            assert_eq!(session.on(Built(built)), []);
        }
    }

    #[test]
    fn changes_during_a_build_are_one_build_after_it() {
        let mut session = running();
        assert_eq!(session.on(Changed), [Build]);
        assert_eq!(session.on(Changed), []);
        assert_eq!(session.on(Changed), []);
        assert_eq!(session.on(Built(BuildEnd::Failed)), [Build]);
        assert_eq!(session.on(Built(BuildEnd::New)), [Action::Stop]);
    }

    #[test]
    fn program_that_crashed_is_started_by_the_next_build() {
        for code in [Some(1), Some(101), None] {
            let mut session = running();
            assert_eq!(session.on(Ended(code)), []);
            assert!(session.waits_for_a_change());
            assert_eq!(session.on(Changed), [Build]);
            assert_eq!(session.on(Built(BuildEnd::Failed)), []);
            assert_eq!(session.on(Changed), [Build]);
            assert_eq!(session.on(Built(BuildEnd::Same)), [Start]);
        }
    }

    #[test]
    fn only_the_first_program_ends_the_command_when_it_refuses_its_data() {
        for code in 2..=8 {
            let mut session = running();
            assert_eq!(session.on(Changed), [Build]);
            assert_eq!(session.on(Built(BuildEnd::New)), [Action::Stop]);
            assert_eq!(session.on(Ended(Some(0))), [Start]);
            assert_eq!(session.on(Ended(Some(code))), [], "{code} may be about the change");
            assert!(session.waits_for_a_change());
        }
        assert_eq!(running().on(Ended(Some(2))), [], "a change of the options' code mends it");
    }

    #[test]
    fn first_program_without_its_port_or_data_ends_the_command_with_its_code() {
        assert_eq!(running().on(Ended(Some(7))), [End(7)]);
        let mut session = running();
        assert_eq!(session.on(Changed), [Build]);
        assert_eq!(session.on(Ended(Some(3))), [StopBuild]);
        assert_eq!(session.on(Built(BuildEnd::Failed)), [End(3)]);
    }

    #[test]
    fn command_ends_when_neither_a_program_nor_a_build_is_left() {
        assert_eq!(Session::default().on(Event::Stop), [End(0)]);
        let mut session = running();
        assert_eq!(session.on(Changed), [Build]);
        assert_eq!(session.on(Event::Stop), [Action::Stop, StopBuild]);
        assert_eq!(session.on(Changed), []);
        assert_eq!(session.on(Built(BuildEnd::New)), []);
        assert_eq!(session.on(Event::Stop), [Action::Stop], "a second one ends the program at once");
        assert_eq!(session.on(Ended(None)), [End(0)]);
    }
}
