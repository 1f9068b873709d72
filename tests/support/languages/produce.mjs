import pg from "pg";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const order = { id: "o-node", total: "12.30" };
// FENCE
await pool.end();
await import("./consumer.mjs");
