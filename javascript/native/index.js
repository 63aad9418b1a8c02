// Named one by one, so that `import` finds them too.
const { claimToRead, listen, open, peerOf } = require("./panpipe.node");

module.exports = { claimToRead, listen, open, peerOf };
