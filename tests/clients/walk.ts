// Walks every page with the types that openapi-typescript makes of the document, and reads an error.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.d.ts";

type Activity = components["schemas"]["Activity"];
type ErrorBody = components["schemas"]["ErrorBody"];

declare const process: { argv: string[] };
const [url, key] = process.argv.slice(2) as [string, string];
const api = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });

/** `_type` tells which fields there are. */
function told(row: Activity): string {
  switch (row._type) {
    case "Call":
      return `${row.user_name ?? "somebody"} called for ${row.duration ?? 0} s`;
    case "Email":
      return `${row.sender ?? "somebody"} wrote: ${row.subject ?? ""}`;
    case "EmailThread":
      return `${row.n_emails ?? 0} emails with ${row.participants?.[0]?.email ?? "nobody"}`;
    case "LeadStatusChange":
      return `${row.old_status_label ?? ""} became ${row.new_status_label ?? ""}`;
    default:
      return `${row._type} of ${new Date(row.date_created).toISOString()}`;
  }
}

function reason(body: ErrorBody): string {
  const { error } = body;
  return typeof error === "string" ? error : `${error.message}; again in ${error.rate_reset} s`;
}

async function* walk(): AsyncGenerator<Activity> {
  let cursor: string | undefined;
  do {
    const query = { thread_emails: "true" as const, ...(cursor ? { _cursor: cursor } : {}) };
    const { data, error, response } = await api.GET("/api/v1/activity/", { params: { query } });
    if (!data) throw new Error(reason(error));
    yield* data.data;
    cursor = /[?&]_cursor=([^&>]+)/.exec(response.headers.get("Link") ?? "")?.[1];
  } while (cursor);
}

const counts: Record<string, number> = {};
const first: Record<string, string> = {};
for await (const row of walk()) {
  counts[row._type] = (counts[row._type] ?? 0) + 1;
  first[row._type] ??= told(row);
}
const refused = await api.GET("/api/v1/activity/", { params: { query: { _limit: 101 } } });
const error = refused.error ? reason(refused.error) : null;
console.log(JSON.stringify({ counts, first, error }));
