//! Where labs live on disk, and which of them are alive.
//!
//! Each lab has a directory of its own below a directory that belongs to the
//! user. Its file `lock` is locked by the lab's processes as long as one of
//! them lives, however it ends; a directory whose lock is free is what a
//! killed lab left behind, and the next command removes it. A second lock,
//! for the whole base directory, covers the moments in which a directory
//! comes or goes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::{FlockOperation, flock};

/// Most bytes of a lab's name: its socket's path must fit 107.
const MAX_NAME: usize = 32;

/// A lab's name: 1 to 32 small letters, digits and hyphens, a letter or digit first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabName(String);

impl LabName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LabName {
    /// The lab that is meant when no name is given.
    fn default() -> LabName {
        LabName("lab".into())
    }
}

impl std::fmt::Display for LabName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LabName {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<LabName, PlaceError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (1..=MAX_NAME).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-')
        {
            Ok(LabName(text.into()))
        } else {
            Err(PlaceError::BadName { name: text.into() })
        }
    }
}

/// Why a lab has no place to live, or cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Not a name.
    #[error(
        "{name:?} is no lab's name: 1 to {MAX_NAME} small letters, digits and hyphens, not starting with a hyphen"
    )]
    BadName {
        /// What was given.
        name: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {reason}", path.display())]
    File {
        /// What was tried, as in "create".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        reason: io::Error,
    },
    /// Somebody else's directory sits where ours should be.
    #[error("{} belongs to user {owner} or is open to others; remove it, or set XDG_RUNTIME_DIR", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// There is a living lab of that name.
    #[error(
        "lab {name} is running already; `guywire lab down --name {name}` ends it, `--name` names another"
    )]
    Running {
        /// Its name.
        name: LabName,
    },
    /// There is no living lab of that name.
    #[error(
        "no lab {name} is running{}; `guywire lab up --name {name} --detach` starts it",
        others(running)
    )]
    NotRunning {
        /// The name.
        name: LabName,
        /// The names of those that run.
        running: Vec<String>,
    },
}

fn others(running: &[String]) -> String {
    match running {
        [] => String::new(),
        names => format!(" (but {})", names.join(", ")),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlaceError {
    let path = path.to_owned();
    move |reason| PlaceError::File {
        action,
        path,
        reason,
    }
}

/// A lab's directory.
#[derive(Clone, Debug)]
pub struct Place {
    name: LabName,
    directory: PathBuf,
}

impl Place {
    /// Finds a running lab.
    ///
    /// # Errors
    /// [`PlaceError::NotRunning`], or what reading the directory says.
    pub fn find(name: &LabName) -> Result<Place, PlaceError> {
        Base::open()?.find(name)
    }

    /// Makes a directory for a new lab and locks it. The lock is held until
    /// every copy of the returned descriptor is closed.
    ///
    /// # Errors
    /// [`PlaceError::Running`], or what creating the directory says.
    pub fn create(name: &LabName) -> Result<(Place, File), PlaceError> {
        Base::open()?.create(name)
    }

    /// The place of a lab whose directory is known.
    ///
    /// # Errors
    /// [`PlaceError::BadName`] if the directory is named like no lab.
    pub fn of_directory(directory: &Path) -> Result<Place, PlaceError> {
        let name = directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .parse()?;
        Ok(Place {
            name,
            directory: directory.into(),
        })
    }

    /// The lab's name.
    pub fn name(&self) -> &LabName {
        &self.name
    }

    /// The lab's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The keeper's control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("keeper.sock")
    }

    /// Holds the keeper's process id as the host sees it.
    pub(crate) fn keeper_pid(&self) -> PathBuf {
        self.directory.join("keeper.pid")
    }

    /// Holds what the lab shall be; see [`crate::plan::Plan`].
    pub(crate) fn plan(&self) -> PathBuf {
        self.directory.join("plan.json")
    }

    /// Holds a link to this executable, first in PATH of every node.
    pub fn bin(&self) -> PathBuf {
        self.directory.join("bin")
    }

    /// Holds the files of a node: its /etc, and what its programs store.
    pub fn node(&self, node: &str) -> PathBuf {
        self.directory.join("nodes").join(node)
    }

    /// Holds the output of the lab's processes, a file each.
    pub fn logs(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Waits until the lab's last process is gone, its directory too.
    ///
    /// # Errors
    /// What opening or locking the lock file says.
    pub(crate) fn wait_until_gone(&self) -> Result<(), PlaceError> {
        let path = self.directory.join("lock");
        match File::open(&path) {
            Ok(lock) => flock(&lock, FlockOperation::LockShared)
                .map_err(io::Error::from)
                .map_err(failed("lock", &path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("open", &path)(error)),
        }
    }

    /// Removes the directory, if it is still there.
    ///
    /// # Errors
    /// What removing it says.
    pub(crate) fn remove(&self) -> Result<(), PlaceError> {
        // Not `Base::open`: inside a user namespace the caller looks like root.
        let base = self.directory.parent().unwrap_or(&self.directory);
        let _base = Base::open_at(base.to_owned())?;
        remove_directory(&self.directory)
    }
}

/// The directory of all labs of this user, locked.
struct Base {
    directory: PathBuf,
    /// Held while directories come or go.
    _lock: File,
}

impl Base {
    /// Opens and locks the base directory, and removes what killed labs left.
    fn open() -> Result<Base, PlaceError> {
        Base::open_at(base_directory())
    }

    fn open_at(directory: PathBuf) -> Result<Base, PlaceError> {
        make_directory(&directory)?;
        let metadata = fs::symlink_metadata(&directory).map_err(failed("examine", &directory))?;
        let owner = metadata.uid();
        if owner != rustix::process::geteuid().as_raw()
            || !metadata.is_dir()
            || metadata.mode() & 0o022 != 0
        {
            return Err(PlaceError::Foreign {
                path: directory,
                owner,
            });
        }
        let path = directory.join(".lock");
        let lock = open_lock(&path).map_err(failed("open", &path))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(io::Error::from)
            .map_err(failed("lock", &path))?;
        let base = Base {
            directory,
            _lock: lock,
        };
        base.sweep()?;
        Ok(base)
    }

    fn place(&self, name: &LabName) -> Place {
        Place {
            name: name.clone(),
            directory: self.directory.join(name.as_str()),
        }
    }

    fn find(&self, name: &LabName) -> Result<Place, PlaceError> {
        let place = self.place(name);
        match place.directory.exists() {
            true => Ok(place),
            false => Err(PlaceError::NotRunning {
                name: name.clone(),
                running: self.names()?,
            }),
        }
    }

    fn create(&self, name: &LabName) -> Result<(Place, File), PlaceError> {
        let place = self.place(name);
        if place.directory.exists() {
            return Err(PlaceError::Running { name: name.clone() });
        }
        for directory in [
            place.directory.clone(),
            place.bin(),
            place.directory.join("nodes"),
            place.logs(),
        ] {
            make_directory(&directory)?;
        }
        let path = place.directory.join("lock");
        let lock = open_lock(&path).map_err(failed("create", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(io::Error::from)
            .map_err(failed("lock", &path))?;
        Ok((place, lock))
    }

    /// Names of the labs whose directories are there.
    fn names(&self) -> Result<Vec<String>, PlaceError> {
        let mut names = Vec::new();
        let entries = fs::read_dir(&self.directory).map_err(failed("list", &self.directory))?;
        for entry in entries {
            let entry = entry.map_err(failed("list", &self.directory))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.parse::<LabName>().is_ok() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes the directories whose lock is free.
    fn sweep(&self) -> Result<(), PlaceError> {
        for name in self.names()? {
            let directory = self.directory.join(name);
            let path = directory.join("lock");
            let alive = match File::open(&path) {
                Ok(lock) => {
                    flock(&lock, FlockOperation::NonBlockingLockShared)
                        == Err(rustix::io::Errno::WOULDBLOCK)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(failed("open", &path)(error)),
            };
            if !alive {
                remove_directory(&directory)?;
            }
        }
        Ok(())
    }
}

/// `/run/guywire-lab` for root, else below XDG_RUNTIME_DIR or /tmp.
fn base_directory() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match runtime {
        _ if uid == 0 && Path::new("/run").is_dir() => "/run/guywire-lab".into(),
        Some(runtime) if runtime.is_absolute() && runtime.is_dir() => runtime.join("guywire-lab"),
        _ => format!("/tmp/guywire-lab-{uid}").into(),
    }
}

/// Others may pass through (programs of a root lab that gave up root find
/// `bin`), but not look around.
fn make_directory(path: &Path) -> Result<(), PlaceError> {
    match fs::DirBuilder::new().mode(0o711).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(failed("create", path)(error))
        }
        _ => Ok(()),
    }
}

fn remove_directory(path: &Path) -> Result<(), PlaceError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A base directory of the test's own.
    fn scratch(test: &str) -> PathBuf {
        let directory =
            std::env::temp_dir().join(format!("guywire-place-{test}-{}", std::process::id()));
        fs::remove_dir_all(&directory).ok();
        directory
    }

    fn name(text: &str) -> LabName {
        text.parse().expect("a good name")
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "lab", "0-9", &"x".repeat(32)] {
            assert!(good.parse::<LabName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a/b", "..", ".lock", "a b", &"x".repeat(33)] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_living_lab_is_found_and_keeps_its_name() {
        let directory = scratch("living");
        let (place, lock) = Base::open_at(directory.clone())
            .unwrap()
            .create(&name("one"))
            .unwrap();
        let base = Base::open_at(directory.clone()).unwrap();
        assert_eq!(
            base.find(&name("one")).unwrap().directory(),
            place.directory()
        );
        assert!(matches!(
            base.create(&name("one")),
            Err(PlaceError::Running { .. })
        ));
        let missing = base.find(&name("two")).unwrap_err().to_string();
        assert!(
            missing.contains("no lab two is running (but one)"),
            "{missing}"
        );
        drop((base, lock));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_a_killed_lab_left_is_removed() {
        let directory = scratch("killed");
        let (place, lock) = Base::open_at(directory.clone())
            .unwrap()
            .create(&name("one"))
            .unwrap();
        fs::write(place.plan(), "{}").unwrap();
        drop(lock);
        let base = Base::open_at(directory.clone()).unwrap();
        assert!(!place.directory().exists());
        assert!(base.create(&name("one")).is_ok());
        drop(base);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = scratch("open");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(
            Base::open_at(directory.clone()),
            Err(PlaceError::Foreign { .. })
        ));
        fs::remove_dir_all(directory).unwrap();
    }
}
