//! A function on AWS's own Rust client.

use lambda_runtime::{service_fn, Error, LambdaEvent};
use serde_json::{json, Value};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (body, context) = event.into_parts();
    match body["do"].as_str().unwrap_or("") {
        "echo" => Ok(body["value"].clone()),
        "count" => Ok(json!(COUNT.fetch_add(1, Ordering::Relaxed) + 1)),
        "fail" => Err("no".into()),
        "panic" => panic!("all is lost"),
        "context" => Ok(json!({
            "id": context.request_id, "arn": context.invoked_function_arn, "deadline": context.deadline,
            "name": context.env_config.function_name,
        })),
        _ => Ok(Value::Null),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}
