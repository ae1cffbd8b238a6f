//! `pghaul migration create`.

use pghaul_server::Job;
use pghaul_server::job::Password;
use pghaul_stage::{Error, Kind, Result};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::args::{Create, Form};
use super::{Client, file, local, print, read, show, watch};
use crate::Outcome;
use crate::output::say;

/// Creates a migration where the flags, the file or the environment say.
pub(super) fn run(args: &Create, handle: &Handle) -> Result<Outcome> {
    let said = file::read(args)?;
    for notice in &said.notices {
        eprintln!("pghaul: {notice}");
    }
    match args.remote.address(said.runtime) {
        Some(address) => handle.block_on(remote(args, &address, &said.job)),
        None => local::run(args, &said.job),
    }
}

async fn remote(args: &Create, address: &str, job: &Job) -> Result<Outcome> {
    let client = Client::new(&args.remote, address)?;
    let name = args.name();
    let path = ["migrations", name.as_str()];
    let answer = client
        .ask(Method::PUT, &path, &[], Some(&body(job)?))
        .await?;
    let migration = read(&answer)?;
    if args.output.form == Form::Table {
        say(&format!(
            "migration {name} is created at {}",
            client.address()
        ));
    }
    if args.watch {
        return watch::run(&client, &name, args.output.form).await;
    }
    if !print(args.output.form, &answer)? {
        show::print(&migration);
    }
    Ok(Outcome::Done)
}

/// A job with its passwords, which no other way of writing it shows.
fn body(job: &Job) -> Result<Value> {
    let mut body = serde_json::to_value(job)
        .map_err(|error| Error::new(Kind::Permanent, "cannot write the job").because(error))?;
    for (end, password) in ["source", "target"].into_iter().zip(job.passwords()) {
        let end = body.get_mut(end).and_then(Value::as_object_mut);
        if let (Some(end), Some(password)) = (end, password.map(Password::expose)) {
            end.insert("password".to_owned(), json!(password));
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_has_the_passwords_and_reads_as_the_same_job() {
        let job = json!({
            "source": {"host": "a", "user": "u", "password": "hunter2"},
            "target": {"host": "b", "user": "u"},
            "databases": ["d"],
        });
        let job = Job::from_json(job.to_string().as_bytes()).unwrap();
        let body = body(&job).unwrap();
        assert_eq!(body["source"]["password"], "hunter2");
        assert_eq!(body["target"].get("password"), None);
        assert_eq!(Job::from_json(body.to_string().as_bytes()).unwrap(), job);
    }
}
