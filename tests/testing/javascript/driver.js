// Sends commands of the AWS SDK for JavaScript: each line of the standard input is a JSON object
// with `command` and `input`, each line of the answer one with `output` or `error`. Bytes travel
// as {"$bytes": base64}. A line with `pages` goes through the SDK's own paginator.
"use strict";

const readline = require("node:readline");
const sdk = require("@aws-sdk/client-rolesanywhere");

const client = new sdk.RolesAnywhereClient({
  region: "eu-west-1",
  endpoint: process.argv[2],
  credentials: { accessKeyId: "testing", secretAccessKey: "testing" },
  maxAttempts: 1,
});

const revive = (_, value) =>
  value && value.$bytes !== undefined ? Buffer.from(value.$bytes, "base64") : value;

const replace = (_, value) =>
  value instanceof Uint8Array ? { $bytes: Buffer.from(value).toString("base64") } : value;

async function answer({ command, input, pages }) {
  if (command === undefined && pages === undefined) {
    return { output: Object.keys(sdk).filter((name) => /^[A-Z]\w+Command$/.test(name)) };
  }
  try {
    if (pages !== undefined) {
      const found = [];
      for await (const page of sdk[pages]({ client }, input)) {
        found.push(page);
      }
      return { output: found };
    }
    return { output: await client.send(new sdk[command](input)) };
  } catch (error) {
    const { name, message, $metadata: metadata } = error;
    return { error: { name, message, status: metadata && metadata.httpStatusCode } };
  }
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const result = await answer(JSON.parse(line, revive));
    process.stdout.write(JSON.stringify(result, replace) + "\n");
  }
})();
