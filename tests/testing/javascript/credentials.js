// Prints as JSON what the SDK's default chain of credential providers finds; with the argument
// `http`, what its provider for container endpoints says by itself.
"use strict";

const { fromHttp, fromNodeProviderChain } = require("@aws-sdk/credential-providers");

const provider = process.argv[2] === "http" ? fromHttp() : fromNodeProviderChain();

provider().then(
  (found) => console.log(JSON.stringify(found)),
  ({ name, message, Code, Message }) =>
    console.log(JSON.stringify({ error: { name, message, Code, Message } })),
);
