// FENCE
const redis = new Redis(process.env.REDIS_URL, { enableReadyCheck: false });
const handled = [];
const handle = async (...seen) => handled.push(seen);
for (const blockMs of [10, 10]) await read(redis, "node", "one", handle, { blockMs });
await redis.quit();
console.log(JSON.stringify(handled));
