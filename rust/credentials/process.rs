//! `credential_process`: a program that prints credentials (AWS SDKs Reference Guide, "Process credential provider").
//!
//! Not reqsign's own: that one splits the command at spaces, quoted or not, and quotes what it cannot
//! parse, which may be a secret.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use reqsign_aws_core::Credential;

use crate::runtime::offload;

struct Output {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Ends the program when whoever waits for it has gone.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Runs `command` and reads the credentials that it prints.
pub async fn credentials(command: &str, limit: Duration) -> Result<Credential, String> {
    let words = shlex::split(command)
        .filter(|words| !words.is_empty())
        .ok_or("credential_process has an open quote, or names no program")?;
    let abandoned = Arc::new(AtomicBool::new(false));
    let guard = Abandon(abandoned.clone());
    let output = offload(move || run(&words, limit, &abandoned))
        .await
        .map_err(|failure| failure.to_string())??;
    drop(guard);
    if output.code != Some(0) {
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().take(300).collect();
        let status = match output.code {
            Some(code) => format!("status {code}"),
            None => "a signal".to_owned(),
        };
        return Err(if said.is_empty() {
            format!("credential_process ended with {status}")
        } else {
            format!("credential_process ended with {status}: {said}")
        });
    }
    parse(&output.stdout).map_err(|why| format!("credential_process printed {why}"))
}

fn run(words: &[String], limit: Duration, abandoned: &AtomicBool) -> Result<Output, String> {
    let deadline = Instant::now() + limit;
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("credential_process {:?} cannot start: {error}", words[0]))?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let code = wait(&mut child, deadline, abandoned)?;
    // A grandchild may hold the pipes open for longer than the program lives.
    let rest = |pipe: Receiver<Vec<u8>>| {
        let left = deadline.saturating_duration_since(Instant::now());
        pipe.recv_timeout(left).unwrap_or_default()
    };
    Ok(Output {
        code,
        stdout: rest(stdout),
        stderr: rest(stderr),
    })
}

fn wait(
    child: &mut Child,
    deadline: Instant,
    abandoned: &AtomicBool,
) -> Result<Option<i32>, String> {
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.code()),
            Err(error) => return Err(format!("credential_process was lost: {error}")),
            Ok(None) => {}
        }
        if Instant::now() >= deadline || abandoned.load(Relaxed) {
            let _ = child.kill();
            let _ = child.wait();
            return Err("credential_process did not end in time".to_owned());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (full, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = full.send(bytes);
    });
    receiver
}

fn parse(printed: &[u8]) -> Result<Credential, String> {
    let value: serde_json::Value = serde_json::from_slice(printed)
        .map_err(|error| format!("no JSON (line {}, column {})", error.line(), error.column()))?;
    let text = |name: &str| {
        value[name]
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    if value["Version"].as_u64() != Some(1) {
        return Err("JSON whose \"Version\" is not 1".to_owned());
    }
    let needed = |name: &str| text(name).ok_or_else(|| format!("JSON without {name:?}"));
    let expires_in = match text("Expiration") {
        None => None,
        Some(when) => Some(
            when.parse()
                .map_err(|_| format!("an \"Expiration\" that is no time: {when:?}"))?,
        ),
    };
    Ok(Credential {
        access_key_id: needed("AccessKeyId")?,
        secret_access_key: needed("SecretAccessKey")?,
        session_token: text("SessionToken"),
        expires_in,
    })
}
