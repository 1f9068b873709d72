// Indexes orders. Everything it knows of the operator are environment variables.
import { readFileSync } from "node:fs";
import {
  connect, credsAuthenticator, nkeyAuthenticator, tokenAuthenticator, usernamePasswordAuthenticator,
} from "nats";

const { env } = process;
// Files are read at each connection.
const bytes = (name) => () => readFileSync(env[name]);
const text = (name) => () => readFileSync(env[name], "utf8").trim();

// What the operator always sets, and a person may have forgotten.
const needed = (name) => {
  if (env[name]) return env[name];
  console.error(`${name} is not set`);
  process.exit(1);
};

const connection = await connect({
  servers: needed("NATS_URL").split(","),
  authenticator: login(),
  tls: tls(),
  maxReconnectAttempts: -1, // the default gives up after ten
});
const jetstream = connection.jetstream(env.NATS_DOMAIN ? { domain: env.NATS_DOMAIN } : {});
const consumer = await jetstream.consumers.get(needed("OUTBOX_STREAM"), needed("OUTBOX_CONSUMER"));
// Few at a time: all that is in hand has to be done within OUTBOX_ACK_WAIT_SECONDS.
const messages = await consumer.consume({ max_messages: 10 });
process.on("SIGTERM", () => messages.close()); // what is in hand is still handled

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

function login() {
  if (env.NATS_CREDS_FILE) return credsAuthenticator(bytes("NATS_CREDS_FILE"));
  if (env.NATS_NKEY_FILE) return nkeyAuthenticator(() => Buffer.from(text("NATS_NKEY_FILE")()));
  if (env.NATS_TOKEN_FILE) return tokenAuthenticator(text("NATS_TOKEN_FILE"));
  if (!env.NATS_USERNAME_FILE) return undefined;
  return usernamePasswordAuthenticator(text("NATS_USERNAME_FILE"), text("NATS_PASSWORD_FILE"));
}

function tls() {
  const { NATS_CA_FILE: caFile, NATS_CERT_FILE: certFile, NATS_KEY_FILE: keyFile } = env;
  const handshakeFirst = env.NATS_TLS_HANDSHAKE_FIRST === "true";
  return caFile || certFile || handshakeFirst ? { caFile, certFile, keyFile, handshakeFirst } : undefined;
}
