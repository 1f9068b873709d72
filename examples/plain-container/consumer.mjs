// Indexes orders. Everything it knows of the operator are environment variables.
import { readFileSync } from "node:fs";
import { connect, credsAuthenticator } from "nats";

const { env } = process;
const file = (name) => (env[name] ? readFileSync(env[name], "utf8").trim() : undefined);

const connection = await connect({
  servers: env.NATS_URL.split(","),
  user: file("NATS_USERNAME_FILE"),
  pass: file("NATS_PASSWORD_FILE"),
  token: file("NATS_TOKEN_FILE"),
  authenticator: env.NATS_CREDS_FILE
    ? credsAuthenticator(readFileSync(env.NATS_CREDS_FILE))
    : undefined,
  tls: env.NATS_CA_FILE ? { caFile: env.NATS_CA_FILE } : undefined,
  maxReconnectAttempts: -1,
});
const jetstream = connection.jetstream(env.NATS_DOMAIN ? { domain: env.NATS_DOMAIN } : {});
const consumer = await jetstream.consumers.get(env.OUTBOX_STREAM, env.OUTBOX_CONSUMER);
const messages = await consumer.consume({ max_messages: 100 });
process.on("SIGTERM", () => messages.close());

for await (const message of messages) {
  let order;
  try {
    order = message.json();
  } catch (error) {
    message.term(`not JSON: ${error.message}`); // becomes a dead letter
    continue;
  }
  try {
    await index(message.headers?.get("Ce-Id"), order);
    message.ack();
  } catch (error) {
    console.error(`order not indexed: ${error.message}`);
    message.nak(5000); // again in 5 s, OUTBOX_MAX_DELIVER times in all
  }
}
await connection.drain();

// Stores the document under the event's id: a second delivery changes nothing.
async function index(id, order) {
  console.log(JSON.stringify({ indexed: id, order }));
}
