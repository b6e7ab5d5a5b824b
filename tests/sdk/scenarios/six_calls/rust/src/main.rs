// Six calls with the Rust client of openapi-generator.
use openapi::apis::configuration::Configuration;
use openapi::apis::sessions_api::create_token;
use openapi::apis::todos_api::{create_todo, export_todos, import_todos, list_todos, update_todo};
use openapi::apis::Error;
use openapi::models::{Problem, TodoCreate, TodoPage, TodoSort, TodoUpdate};
use serde_json::json;
use std::env::var;

async fn list(client: &Configuration, cursor: Option<&str>) -> Result<TodoPage, Box<dyn std::error::Error>> {
    let sort = Some(TodoSort::CREATED_AT);
    Ok(list_todos(client, None, None, None, None, None, None, None, None, None, None, None, sort, Some(2), cursor).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut client = Configuration { base_path: var("SERVICE_URL")?, ..Configuration::default() };
    let (user, password) = (var("SERVICE_USER")?, var("SERVICE_PASSWORD")?);
    let tokens = create_token(&client, "password", Some(&user), Some(&password), None).await?;
    client.bearer_access_token = Some(tokens.access_token);

    let mut created = Vec::new();
    for title in ["Water the plants", "Buy seeds", "Rake the leaves"] {
        let due_at = Some(Some("2027-01-31T09:00:00Z".parse()?));
        let todo = TodoCreate { due_at, ..TodoCreate::new(title.to_string()) };
        created.push(create_todo(&client, todo, None).await?.title);
    }

    let first = list(&client, None).await?;
    let second = list(&client, first.next_cursor.as_deref()).await?;

    let id = &first.items[0].id;
    let renamed = TodoUpdate { title: Some("Water all the plants".to_string()), ..TodoUpdate::new() };
    let stale = match update_todo(&client, id, renamed, Some("\"99\""), None).await {
        // the entity has the first status with the fields of a problem, so read the content
        Err(Error::ResponseError(response)) => {
            json!([response.status.as_u16(), serde_json::from_str::<Problem>(&response.content)?.r#type])
        }
        other => panic!("{other:?}"),
    };

    let clearing = TodoUpdate { due_at: Some(None), ..TodoUpdate::new() };
    let cleared = update_todo(&client, id, clearing, None, None).await?;

    let (mut files, mut unchanged) = (json!({}), json!({}));
    for format in ["csv", "json", "ics"] {
        let file = export_todos(&client, Some(format)).await?.text().await?;
        std::fs::write("todos", &file)?;
        let report = import_todos(&client, "todos".into(), Some(format), None, None, None).await?;
        files[format] = json!(file);
        unchanged[format] = json!(report.unchanged);
    }

    let told = json!({
        "signed in": tokens.token_type,
        "created": created,
        "pages": [first.items.len(), second.items.len()],
        "stale": stale,
        "cleared": [cleared.title, json!(cleared.due_at.is_none())],
        "files": files,
        "unchanged": unchanged,
    });
    println!("{told}");
    Ok(())
}
