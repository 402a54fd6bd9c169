/* A CUDA that computes nothing: memory is the host's, launches, captures and replays are counted, everything succeeds.
   fakecuda.py adds each other symbol that ONNX Runtime's providers ask for, as a function that returns 0. */
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
typedef unsigned long long u64;
long fake_launches, fake_captures, fake_replays, fake_h2d, fake_mallocs;
static int capturing;
int cudaGetDeviceCount(int *n){*n=1;return 0;}
int cudaGetDevice(int *d){*d=0;return 0;}
int cudaSetDevice(int d){return d?101:0;}
int cudaDriverGetVersion(int *v){*v=13000;return 0;}
int cudaRuntimeGetVersion(int *v){*v=13000;return 0;}
int cudaDeviceGetAttribute(int *v,int a,int d){*v = a==75?9:a==76?0:a==16?132:a==10?32:a==1?1024:a==8?49152:a==97?232448:1024;return 0;}
/* cudaDeviceProp of CUDA 13: name, uuid, luid, mask, then sizes */
int cudaGetDeviceProperties(char *p,int d){
  memset(p,0,700); strcpy(p,"Fake H200"); char *q=p+256+16+8+4; q=p+288;
  *(u64*)q=141ull<<30; *(u64*)(q+8)=49152; *(int*)(q+16)=65536; *(int*)(q+20)=32; *(u64*)(q+24)=1u<<30;
  *(int*)(q+32)=1024; int*r=(int*)(q+36); r[0]=1024;r[1]=1024;r[2]=64; r[3]=2147483647;r[4]=65535;r[5]=65535;
  u64*s=(u64*)(q+64); s[0]=65536; int*t=(int*)(q+72); t[0]=9;t[1]=0; s=(u64*)(q+80); s[0]=512;s[1]=32; *(int*)(q+96)=132; return 0;}
int cudaMalloc(void **p,size_t n){fake_mallocs++;*p=aligned_alloc(512,(n+1023)/512*512);memset(*p,0,n);return 0;}
int cudaMallocHost(void **p,size_t n){*p=calloc(1,n+64);return 0;}
int cudaHostAlloc(void **p,size_t n,unsigned f){*p=calloc(1,n+64);return 0;}
int cudaMallocFromPoolAsync(void **p,size_t n,void*a,void*s){return cudaMalloc(p,n);}
int cudaFree(void *p){free(p);return 0;} int cudaFreeHost(void *p){free(p);return 0;} int cudaFreeAsync(void *p,void*s){free(p);return 0;}
int cudaMemcpy(void *d,const void *s,size_t n,int k){if(k==1)fake_h2d++;memcpy(d,s,n);return 0;}
int cudaMemcpyAsync(void *d,const void *s,size_t n,int k,void*st){if(k==1)fake_h2d++;memcpy(d,s,n);return 0;}
int cudaMemset(void *d,int v,size_t n){memset(d,v,n);return 0;} int cudaMemsetAsync(void *d,int v,size_t n,void*s){memset(d,v,n);return 0;}
int cudaMemcpyFromSymbol(void*d,const void*s,size_t n,size_t o,int k){memset(d,0,n);return 0;}
int cudaMemGetInfo(size_t *f,size_t *t){*f=140ull<<30;*t=141ull<<30;return 0;}
static int made(void **p){*p=calloc(1,256);return 0;}
int cudaStreamCreate(void **s){return made(s);} int cudaStreamCreateWithFlags(void **s,unsigned f){return made(s);}
int cudaEventCreate(void **s){return made(s);} int cudaEventCreateWithFlags(void **s,unsigned f){return made(s);}
int cudaEventElapsedTime(float*f,void*a,void*b){*f=1;return 0;}
int cudaStreamIsCapturing(void*s,int*st){*st=capturing;return 0;}
int cudaStreamBeginCapture(void*s,int m){capturing=1;fake_captures++;return 0;}
int cudaStreamEndCapture(void*s,void**g){capturing=0;return made(g);}
int cudaGraphInstantiate(void**e,void*g,u64 f){return made(e);}
int cudaGraphLaunch(void*e,void*s){fake_replays++;return 0;}
int cudaLaunchHostFunc(void*s,void(*f)(void*),void*d){f(d);return 0;}
const char* cudaGetErrorString(int e){return "fake";} const char* cudaGetErrorName(int e){return "fake";}
int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int*n,const void*f,int b,size_t s,unsigned fl){*n=2;return 0;}
int cudaPointerGetAttributes(char*a,const void*p){memset(a,0,32);return 0;}
int cudaFuncGetAttributes(char*a,const void*p){memset(a,0,128);return 0;}
int cudaMemPoolCreate(void**p,void*q){return made(p);}
int cudaMemPoolGetAttribute(void*p,int a,u64*v){*v=0;return 0;}
int cudaGetDriverEntryPointByVersion(const char*n,void**f,unsigned v,u64 fl,int*r){*f=0;if(r)*r=1;return 0;}
int cudaLibraryLoadData(void**l){return made(l);} int cudaLibraryGetKernel(void**k){return made(k);}
int __cudaPushCallConfiguration(){return 0;} int __cudaPopCallConfiguration(){return 0;}
int __cudaLaunchKernel(){fake_launches++;return 0;} int cudaLaunchKernel(){fake_launches++;return 0;}
int cudaLaunchKernelExC(){fake_launches++;return 0;} int cudaLaunchCooperativeKernel(){fake_launches++;return 0;}
int __cudaGetKernel(void**k,const void*f){*k=(void*)f;return 0;}
void** __cudaRegisterFatBinary(void*f){static void*h[4];return h;} void __cudaRegisterFatBinaryEnd(void**h){}
int cublasCreate_v2(void **h){return made(h);} int cublasLtCreate(void **h){return made(h);}
int cublasGetMathMode(void*h,int*m){*m=0;return 0;}
const char* cublasGetStatusName(int s){return "fake";} const char* cublasGetStatusString(int s){return "fake";}
int cudnnCreate(void **h){return made(h);} size_t cudnnGetVersion(){return 91900;}
const char* cudnnGetErrorString(int s){return "fake";}
int cudnnGetStream(void*h,void**s){*s=0;return 0;}
int cudnnFindConvolutionForwardAlgorithmEx(){return 0;}
int cudnnGetConvolutionForwardWorkspaceSize(void*h,void*a,void*b,void*c,void*d,int e,size_t*n){*n=0;return 0;}
int cudnnGetReductionWorkspaceSize(void*h,void*a,void*b,void*c,size_t*n){*n=0;return 0;}
int cudnnGetReductionIndicesSize(void*h,void*a,void*b,void*c,size_t*n){*n=0;return 0;}
