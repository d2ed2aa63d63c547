//! A check that a provider can be reached and accepts the key: a request for its list of models,
//! which costs nothing.

use serde_json::Value;

use super::error::ProviderError;
use super::http::{BuildError, Endpoint, Post};
use super::{anthropic, openai};

/// The dialect of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Anthropic,
}

/// The result for the model at a provider that can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// The model is in its list.
    Listed,
    /// The list has this many models, but not the model. Some servers accept other names than those
    /// that they list.
    NotListed { models: usize },
    /// The provider has no list, so that neither the key nor the model is proved.
    NoList,
}

/// Requests the list of models once.
pub async fn reach(
    dialect: Dialect,
    endpoint: &Endpoint,
) -> Result<Result<Reached, ProviderError>, BuildError> {
    let (path, headers) = match dialect {
        Dialect::OpenAi => ("/models", openai::headers(endpoint, None)?),
        Dialect::Anthropic => ("/v1/models", anthropic::headers(endpoint)?),
    };
    let post = Post::new(endpoint, path, headers)?;
    let list = match post.look().await {
        Ok(list) => list,
        // The provider is there but does not have this path.
        Err(ProviderError::BadRequest {
            status: 404 | 405 | 410 | 501,
            ..
        }) => return Ok(Ok(Reached::NoList)),
        Err(error) => return Ok(Err(error)),
    };
    Ok(Ok(judge(&list, &endpoint.model)))
}

fn judge(list: &Value, model: &str) -> Reached {
    let Some(Value::Array(models)) = list.get("data") else {
        return Reached::NoList;
    };
    let is_it = |of: &Value| of.get("id").and_then(Value::as_str) == Some(model);
    if models.iter().any(is_it) {
        return Reached::Listed;
    }
    Reached::NotListed {
        models: models.len(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::matchers::{header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;
    use crate::ai::http::{DEFAULT_BODY_LIMIT, Timeouts};
    use wedcache_model::clock::Clock;

    fn endpoint(base_url: String) -> Endpoint {
        Endpoint {
            name: "main".to_owned(),
            base_url,
            api_key: "sk-test".to_owned().into(),
            model: "m-1".to_owned(),
            temperature: None,
            timeouts: Timeouts::default(),
            body_limit: DEFAULT_BODY_LIMIT,
            clock: Clock::System,
        }
    }

    async fn asked(reply: ResponseTemplate) -> Result<Reached, ProviderError> {
        let server = MockServer::start().await;
        // Any other request gets a 404.
        Mock::given(method("GET"))
            .and(path("/v1/models"))
            .and(header("authorization", "Bearer sk-test"))
            .respond_with(reply)
            .expect(1)
            .mount(&server)
            .await;
        let endpoint = endpoint(format!("{}/v1", server.uri()));
        reach(Dialect::OpenAi, &endpoint).await.unwrap()
    }

    #[tokio::test]
    async fn a_list_says_whether_the_model_is_known() {
        let list = |names: &[&str]| {
            let models: Vec<_> = names.iter().map(|name| json!({"id": name})).collect();
            ResponseTemplate::new(200).set_body_json(json!({"object": "list", "data": models}))
        };
        assert_eq!(asked(list(&["m-0", "m-1"])).await, Ok(Reached::Listed));
        let other = Reached::NotListed { models: 1 };
        assert_eq!(asked(list(&["m-0"])).await, Ok(other));
        let odd = ResponseTemplate::new(200).set_body_string("hello");
        assert_eq!(asked(odd).await, Ok(Reached::NoList));
        assert_eq!(asked(ResponseTemplate::new(405)).await, Ok(Reached::NoList));
    }

    #[tokio::test]
    async fn a_refused_key_and_a_broken_server_are_no_reach() {
        let refused = asked(ResponseTemplate::new(401)).await.unwrap_err();
        assert!(
            matches!(refused, ProviderError::Unauthorised { status: 401, .. }),
            "{refused}"
        );
        let broken = asked(ResponseTemplate::new(503)).await.unwrap_err();
        assert!(
            matches!(broken, ProviderError::Unavailable { .. }),
            "{broken}"
        );
    }

    #[tokio::test]
    async fn the_other_dialect_has_its_own_path_and_headers() {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path("/v1/models"))
            .and(header("x-api-key", "sk-test"))
            .and(header("anthropic-version", "2023-06-01"))
            .respond_with(
                ResponseTemplate::new(200).set_body_json(json!({"data": [{"id": "m-1"}]})),
            )
            .expect(1)
            .mount(&server)
            .await;
        let reached = reach(Dialect::Anthropic, &endpoint(server.uri())).await;
        assert_eq!(reached.unwrap(), Ok(Reached::Listed));
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_no_reach() {
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let endpoint = endpoint(format!("http://127.0.0.1:{port}"));
        let away = reach(Dialect::OpenAi, &endpoint).await.unwrap();
        assert!(
            matches!(away, Err(ProviderError::Unreachable { .. })),
            "{away:?}"
        );
    }
}
