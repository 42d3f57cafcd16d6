//! Servers from Debian's packages, each in a directory of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Set where the servers were installed, so that one that is not there is a failure.
const INSTALLED: &str = "GREENRT_TEST_INSTALLED";

/// Who runs a server that does not want to be root.
pub(crate) const NOBODY: u32 = 65534;

/// One that runs, until this is dropped.
pub(crate) struct Server {
    pub(crate) directory: PathBuf,
    child: Child,
}

impl Server {
    pub(crate) fn start(directory: PathBuf, command: &mut Command) -> Server {
        let child = quiet(command).spawn().unwrap();
        Server { directory, child }
    }

    /// Connects by `connect`, which fails until the server answers.
    pub(crate) fn connect<C, E>(&self, connect: impl Fn(&Path) -> Result<C, E>) -> C {
        loop {
            match connect(&self.directory) {
                Ok(client) => return client,
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub(crate) fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

/// A new directory, for nobody but its server and us.
pub(crate) fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("greenlibc-{name}-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let _ = chown(&directory, Some(NOBODY), Some(NOBODY));
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

/// There is no such server, of which the test says so.
pub(crate) fn is_missing(name: &str) {
    let installed = std::env::var_os(INSTALLED).is_some();
    assert!(!installed, "{name} is not installed");
    println!("{name} is not installed on this machine, and not tested: see tests/crates/run");
}
