// What the node programs share: one line per check, and how to provoke an error and look at it.
import process from 'node:process';
import assert from 'node:assert/strict';

export const clients = Number(process.env.DRIVER_CLIENTS || 200);
export const servers = Number(process.env.DRIVER_SERVERS || 10);

export const config = {
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  user: process.env.PGUSER,
  password: process.env.PGPASSWORD,
  database: process.env.PGDATABASE,
};

// Runs the checks one after another; a failed one does not stop the rest.
export async function run(checks, after = async () => {}) {
  for (const [name, check] of Object.entries(checks)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('more than 50 s')), 50000);
    });
    try {
      await Promise.race([check(), late]);
      console.log(`ok ${name}`);
    } catch (e) {
      console.log(`not ok ${name}: ${String(e?.message ?? e).replace(/\s+/g, ' ').slice(0, 600)}`);
      console.log(e?.stack);
    } finally {
      clearTimeout(timer);
    }
  }
  await after();
  console.log('done');
  process.exit(0);
}

// The SQLSTATE of the error that work() must end with, wherever the library hides it.
export async function sqlstate(work) {
  try {
    await work();
  } catch (e) {
    for (let at = e; at; at = at.cause ?? at.original ?? at.parent) {
      if (typeof at.code === 'string' && /^[0-9A-Z]{5}$/.test(at.code)) return at.code;
      if (at.originalCode) return at.originalCode;
    }
    throw e;
  }
  throw new assert.AssertionError({ message: 'no error came' });
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export { assert };
