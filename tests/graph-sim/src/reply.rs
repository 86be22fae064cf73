//! An answer before it is sent or put into a `$batch`, and Graph's errors.

use serde_json::{Value, json};

use crate::clock::{self, DateHeader};
use crate::fault::Delivery;
use crate::request::Request;

/// The content type of Graph's OData answers.
pub(crate) const ODATA_JSON: &str =
    "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8";
/// The content type of errors and of everything that is not OData.
pub(crate) const PLAIN_JSON: &str = "application/json";

#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
    /// Whether the simulator supports the request.
    pub(crate) expected: bool,
    /// A bad way to send it, if any.
    pub(crate) delivery: Option<Delivery>,
    /// Its date, when it differs from that of other answers.
    pub(crate) date: Option<DateHeader>,
}

impl Reply {
    /// Status 200 with a body of OData JSON.
    pub(crate) fn odata(body: Vec<u8>) -> Self {
        Self { content_type: ODATA_JSON.to_owned(), ..Self::plain(200, body) }
    }

    /// A status with plain JSON.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::plain(status, body.to_string().into_bytes())
    }

    fn plain(status: u16, body: Vec<u8>) -> Self {
        let content_type = PLAIN_JSON.to_owned();
        Self { status, headers: Vec::new(), content_type, body, expected: true, delivery: None, date: None }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The ids of one exchange, used in headers and error bodies.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) request_id: String,
    pub(crate) client_request_id: Option<String>,
}

impl Exchange {
    pub(crate) fn new(request: &Request, request_id: String) -> Self {
        Self { request_id, client_request_id: request.header("client-request-id").map(str::to_owned) }
    }

    /// Adds the headers of every Graph answer.
    pub(crate) fn stamp(&self, reply: Reply) -> Reply {
        let ok = reply.status < 300;
        let mut reply = reply.header("Cache-Control", "no-cache").header("request-id", &self.request_id);
        if let Some(id) = &self.client_request_id {
            reply = reply.header("client-request-id", id);
        }
        if ok { reply.header("OData-Version", "4.0") } else { reply }
    }
}

/// An error in Graph's format.
#[derive(Debug, Clone)]
pub(crate) struct GraphError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    unexpected: bool,
}

impl GraphError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), unexpected: false }
    }

    /// Graph's usual error for a status.
    pub(crate) fn for_status(status: u16) -> Self {
        let (code, message) = match status {
            400 => ("Request_BadRequest", "Invalid request."),
            401 => ("InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."),
            403 => ("Authorization_RequestDenied", "Insufficient privileges to complete the operation."),
            404 => ("Request_ResourceNotFound", "Resource does not exist."),
            429 => ("TooManyRequests", "Please retry again later."),
            _ => ("UnknownError", ""),
        };
        Self::new(status, code, message)
    }

    /// 400 for an invalid query.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "Request_BadRequest", message)
    }

    /// 400 for a query that needs advanced query capabilities.
    pub(crate) fn unsupported_query(message: impl Into<String>) -> Self {
        Self::new(400, "Request_UnsupportedQuery", message)
    }

    /// 404 for an object that does not exist.
    pub(crate) fn not_found(id: &str) -> Self {
        let detail = "does not exist or one of its queried reference-property objects are not present.";
        Self::new(404, "Request_ResourceNotFound", format!("Resource '{id}' {detail}"))
    }

    /// 403 for a missing permission.
    pub(crate) fn denied() -> Self {
        Self::for_status(403)
    }

    /// 400 for an expired page token.
    pub(crate) fn expired_page_token() -> Self {
        let detail = "The specified page token value has expired and can no longer be included in your request.";
        Self::new(400, "Directory_ExpiredPageToken", detail)
    }

    /// 400 for a path that the simulator does not support.
    pub(crate) fn unknown_segment(segment: &str) -> Self {
        let message = format!("Resource not found for the segment '{segment}'.");
        Self { unexpected: true, ..Self::new(400, "BadRequest", message) }
    }

    /// 405 for a method that the path does not support.
    pub(crate) fn wrong_method() -> Self {
        let message = "Specified HTTP method is not allowed for the request target.";
        Self { unexpected: true, ..Self::new(405, "Request_BadRequest", message) }
    }

    pub(crate) fn reply(self, exchange: &Exchange) -> Reply {
        let Self { status, code, message, unexpected } = self;
        let mut inner = json!({ "date": clock::zoneless(clock::now()), "request-id": exchange.request_id });
        if let Some(id) = &exchange.client_request_id {
            inner["client-request-id"] = id.as_str().into();
        }
        if status == 429 {
            inner["code"] = "429".into();
            inner["status"] = "429".into();
            inner["message"] = "Please retry after".into();
        }
        let body = json!({ "error": { "code": code, "message": message, "innerError": inner } });
        let reply = Reply { expected: !unexpected, ..Reply::json(status, &body) };
        if status == 401 {
            let challenge = r#"Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000""#;
            return reply.header("WWW-Authenticate", challenge);
        }
        reply
    }
}
