// What each type of activity shows in its one line: a table. A new type is one row.
// `title` and `text` may come back as anything; whoever shows them makes text of them.

import { duration, money, phone } from "./format.js";

const joined = (...parts) => parts.filter(Boolean).join(" · ");
const arrow = (before, after) => `${before || "?"} → ${after || "?"}`;
const isIncoming = ({ direction }) => direction === "inbound" || direction === "incoming";
const remote = (row) => phone(row.remote_phone_formatted, row.remote_phone ?? row.phone);
const withWhom = (word) => (row) => `${word} ${isIncoming(row) ? "from" : "to"} ${remote(row) || "somebody"}`;
const list = (value) => (Array.isArray(value) ? value : []);

export const TYPES = {
  Call: {
    path: "call", name: "Call",
    title: withWhom("Call"),
    text: (row) => joined(duration(row.duration), row.disposition ?? row.status, row.note),
  },
  Email: {
    path: "email", name: "Email",
    title: (row) => row.subject || "(no subject)",
    text: (row) => joined(row.sender && `from ${row.sender}`, row.body_preview),
  },
  EmailThread: {
    path: "emailthread", name: "Conversation",
    title: (row) => `${row.latest_normalized_subject || "(no subject)"} (${row.n_emails})`,
    text: (row) => joined(
      list(row.participants).map((one) => one.name || one.email).join(", "),
      row.summary?.summary_text ?? list(row.latest_emails)[0]?.body_preview,
    ),
  },
  Note: {
    path: "note", name: "Note",
    title: (row) => row.title || "Note",
    text: (row) => row.note,
  },
  SMS: {
    path: "sms", name: "Text message",
    title: withWhom("Text message"),
    text: (row) => row.text,
  },
  WhatsAppMessage: {
    path: "whatsapp_message", name: "WhatsApp",
    title: withWhom("WhatsApp message"),
    text: (row) => row.text ?? row.message_markdown,
  },
  Meeting: {
    path: "meeting", name: "Meeting",
    title: (row) => row.title || "Meeting",
    text: (row) => joined(row.status, duration(row.duration), row.location, row.note),
  },
  CustomActivity: {
    path: "custom", name: "Custom",
    title: () => "Custom activity",
    text: (row) => Object.entries(row).filter(([name]) => name.startsWith("custom.")).map(([, value]) => value).join(" · "),
  },
  Created: {
    path: "created", name: "Lead created",
    title: () => "Lead created",
    text: (row) => row.source && `by ${row.source}`,
  },
  LeadStatusChange: {
    path: "status_change/lead", name: "Lead status",
    title: (row) => arrow(row.old_status_label, row.new_status_label),
    text: () => "status of the lead",
  },
  OpportunityStatusChange: {
    path: "status_change/opportunity", name: "Opportunity",
    title: (row) => arrow(row.old_status_label, row.new_status_label),
    text: (row) => joined(
      "status of an opportunity",
      row.opportunity_value_formatted ?? money(row.opportunity_value, row.opportunity_value_currency),
    ),
  },
  LeadMerge: {
    path: "lead_merge", name: "Merge",
    title: () => "Leads merged",
    text: (row) => arrow(row.source_display_name ?? row.source_lead_id, row.destination_display_name ?? row.destination_lead_id),
  },
  TaskCompleted: {
    path: "task_completed", name: "Task",
    title: (row) => row.task_text || "Task completed",
    text: (row) => joined("done", row.task_assigned_to_name),
  },
  FormSubmission: {
    path: "form_submission", name: "Form",
    title: (row) => row.form_name || "Form submitted",
    text: (row) => Object.entries(row.values_by_name ?? {}).map(([name, value]) => `${name}: ${value}`).join(" · "),
  },
  ImportUpdate: {
    path: "import_update", name: "Import",
    title: (row) => (row.reverted ? "Import taken back" : "Import"),
    text: (row) => row.import_id,
  },
};

const UNKNOWN = { name: "Activity", title: (row) => row._type, text: () => "" };

export const typeOf = (row) => TYPES[row._type] ?? UNKNOWN;
