//! Finds a short history that breaks a promise.

use super::choices::Script;

/// Leaves out steps and choices, and makes others plainer, as long as the history still breaks a promise.
pub(super) fn shrunk(mut script: Script, breaks: impl Fn(&Script) -> bool) -> Script {
    loop {
        let before = script.clone();
        leave_out_steps(&mut script, &breaks);
        for step in 0..script.len() {
            make_plainer(&mut script, step, &breaks);
        }
        if script == before {
            return script;
        }
    }
}

fn leave_out_steps(script: &mut Script, breaks: impl Fn(&Script) -> bool) {
    let mut part = script.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < script.len() {
            let end = script.len().min(at + part);
            let shorter = [&script[..at], &script[end..]].concat();
            if breaks(&shorter) {
                *script = shorter;
            } else {
                at = end;
            }
        }
        part /= 2;
    }
}

fn make_plainer(script: &mut Script, step: usize, breaks: impl Fn(&Script) -> bool) {
    for at in 0..script[step].len() {
        let choice = script[step][at];
        for plainer in 0..choice {
            script[step][at] = plainer;
            if breaks(script) {
                break;
            }
            script[step][at] = choice;
        }
    }
}
